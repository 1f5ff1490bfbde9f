"""Studies from files: references, relative paths, places in messages, and whatever people may write by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.errors import RequestError
from harness.loading import load_study
from harness.spec import Study
from tests.conftest import TINY_STUDY

DESIGNED = (
    TINY_STUDY
    + """\
designs:
  - add_one_in: {rows: 8}
  - size_ladder:
      source: sums
      rows: [4, 12]
  - filter_factorial:
      factors: {right: verify, once: [dedupe], short: {filter: {max_words: 9}}}
      fraction: half
  - {design: mixture_dirichlet, draws: 3, rows: 16, prior: {scraped: 1, sums: 0.5}}
"""
)
RECIPE = "lora: {r: 4, alpha: 8}\nlearning_rate: 1.0e-2\nbatch: 4\nsteps: 4\nmax_length: 64\n"


@pytest.fixture
def spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study whose recipe, suite and one source are files of their own, in other folders."""
    parts = yaml.safe_load(TINY_STUDY)
    for name, part in (("recipe", parts["recipe"]), ("suite", parts["suite"]), ("source", parts["sources"]["sums"])):
        folder = tmp_path / "configs" / f"{name}s"
        folder.mkdir(parents=True)
        (folder / "it.yaml").write_text(yaml.safe_dump(part, sort_keys=False))
    parts |= {"recipe": "../configs/recipes/it.yaml", "suite": "../configs/suites/it.yaml"}
    parts["sources"]["sums"] = "../configs/sources/it.yaml"
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/study.yaml").write_text(yaml.safe_dump(parts, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(path: Path) -> str:
    with pytest.raises(RequestError) as caught:
        load_study(path)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- references


def test_parts_may_be_files_and_the_study_is_the_same(spread: Path, tmp_path: Path) -> None:
    loaded = load_study(Path("experiments/study.yaml"))
    assert loaded.study == Study.model_validate(yaml.safe_load(TINY_STUDY))


def test_relative_paths_start_where_they_are_written(spread: Path) -> None:
    loaded = load_study(Path("experiments/study.yaml"))
    assert loaded.model_folder == spread / "experiments"
    assert loaded.suite_folder == spread / "configs/suites"
    assert loaded.source_folders == {"scraped": spread / "experiments", "sums": spread / "configs/sources"}


def test_messages_name_the_file_and_line_that_the_field_is_written_in(spread: Path) -> None:
    study = Path("experiments/study.yaml")
    loaded = load_study(study)
    for message, file, text in (
        ("sources.sums.task: no", "configs/sources/it.yaml", "task: chain_sum"),
        ("sources.scraped.task: no", "experiments/study.yaml", "    task: chain_sum"),
        ("sources.sums.license: no", "configs/sources/it.yaml", "generator: reasoning-gym"),  # not written: its owner
        ("suite held-out: tasks.sums.slice: no", "configs/suites/it.yaml", "    slice: carries"),
        ("suite.tasks.sums: no", "configs/suites/it.yaml", "  sums:"),
        ("arms.sums-16.mix.sums: no", "experiments/study.yaml", "      sums: 16"),
        ("model: no", "experiments/study.yaml", "model: model"),
    ):
        place, _, said = loaded.placed(message).partition(": ")
        name, _, line = place.rpartition(":")
        assert said == message.replace("suite held-out: tasks", "suite.tasks")
        assert Path(name) == Path(file)
        assert Path(name).read_text().splitlines()[int(line) - 1] == text


def test_messages_about_other_things_are_left_alone(study_folder: Path) -> None:
    loaded = load_study(study_folder / "study.yaml")
    for message in ("rows.jsonl:3: not JSON", "--store: no", "modelling: no", "seedy: no"):
        assert loaded.placed(message) == message


def test_names_with_dots_are_placed(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY_STUDY.replace("  sums-16:", "  sums.16:"))
    loaded = load_study(tmp_path / "study.yaml")
    line = TINY_STUDY[: TINY_STUDY.index("  sums-16:")].count("\n") + 1
    assert loaded.placed("arms.sums.16.mix.sums: no").startswith(f"{tmp_path / 'study.yaml'}:{line}: ")


@pytest.mark.parametrize("field", ["recipe", "suite", "source"])
def test_a_mistake_in_a_referenced_file_is_placed_there(spread: Path, field: str) -> None:
    file = Path("configs") / f"{field}s" / "it.yaml"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, "colour: red"]))
    dotted = "sources.sums" if field == "source" else field
    said = refused(Path("experiments/study.yaml"))
    assert said.startswith(f"{file}:{len(lines) + 1}: {dotted}.colour is not a field of a {field}.")


def test_a_broken_referenced_file_is_named(spread: Path) -> None:
    file = Path("configs/recipes/it.yaml")
    file.write_text("batch: [")
    assert refused(Path("experiments/study.yaml")).startswith(f"{file}:1: not YAML (")
    file.write_text("- 1")
    assert refused(Path("experiments/study.yaml")).startswith(f"{file}:1: recipe: expected a mapping")
    file.unlink()
    (file.parent / "itt.yaml").write_text(RECIPE)
    said = refused(Path("experiments/study.yaml"))
    assert said.endswith('recipe: no such file: ../configs/recipes/it.yaml. Did you mean "itt.yaml"?')


@given(before=st.integers(0, 5), after=st.integers(0, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_line_numbers_count_comments_and_blank_lines(tmp_path: Path, before: int, after: int) -> None:
    text = "# a comment\n" * before + TINY_STUDY.replace("seeds: 2", "\n" * after + "sedes: 2")
    (tmp_path / "study.yaml").write_text(text)
    line = text.splitlines().index("sedes: 2") + 1
    assert refused(tmp_path / "study.yaml").startswith(f"{tmp_path / 'study.yaml'}:{line}: sedes is not a field")


def test_misspelling_a_field_is_told_rather_than_missing_it(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY_STUDY.replace("baseline:", "baselin:"))
    assert 'baselin is not a field of a study. Did you mean "baseline"?' in refused(tmp_path / "study.yaml")


# ------------------------------------------------------------------------------------------------------- designs


def test_designs_are_arms_placed_where_the_design_is_written(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(DESIGNED)
    loaded = load_study(file)
    assert list(loaded.study.arms) == [
        "verified", "sums-16", "sums-8", "plus-sums-8", "sums-4", "sums-12", "filters-right.once",
        "filters-right.short", "filters-once.short", "mix-prior", "mix-01", "mix-02", "mix-03",
    ]  # fmt: skip
    for message, text in (
        ("arms.sums-4.mix.sums: no", "  - size_ladder:"),
        ("arms.sums-8.mix.sums: no", "  sums-8: {tests: sums, mix: {sums: 8}}"),
        ("arms.mix-02: no", "  - {design: mixture_dirichlet, draws: 3, rows: 16, prior: {scraped: 1, sums: 0.5}}"),
        ("designs[1].rows: no", "      rows: [4, 12]"),
        (
            "designs[2].factors.once: no",
            "      factors: {right: verify, once: [dedupe], short: {filter: {max_words: 9}}}",
        ),
        ("designs[2].draws: no", "  - filter_factorial:"),  # not a field of it: its owner
    ):
        said = loaded.placed(message)
        assert said.endswith(f": {message}")
        assert DESIGNED.splitlines()[int(said.removeprefix(f"{file}:").split(":")[0]) - 1] == text


# -------------------------------------------------------------------------------------------------------- Python

PYTHON = """\
import yaml
from harness.spec import Study

def study():
    return Study.model_validate(yaml.safe_load({text!r}))
"""


def test_python_and_yaml_give_the_same_study(study_folder: Path) -> None:
    (study_folder / "study.py").write_text(PYTHON.format(text=TINY_STUDY))
    python, yaml_ = load_study(study_folder / "study.py"), load_study(study_folder / "study.yaml")
    assert python.study == yaml_.study
    assert python.study.identity() == yaml_.study.identity()
    assert python.suite_folder == python.model_folder == yaml_.model_folder == study_folder
    assert python.source_folders == yaml_.source_folders
    assert python.placed("sources.sums.task: no") == f"{study_folder / 'study.py'}: sources.sums.task: no"


def test_python_studies_have_the_arms_of_their_designs(study_folder: Path) -> None:
    (study_folder / "study.py").write_text(PYTHON.format(text=DESIGNED))
    (study_folder / "study.yaml").write_text(DESIGNED)
    python, yaml_ = load_study(study_folder / "study.py"), load_study(study_folder / "study.yaml")
    assert python.study == yaml_.study
    assert "mix-03" in python.study.arms
    assert python.placed("arms.mix-03: no") == f"{study_folder / 'study.py'}: arms.mix-03: no"


def test_python_studies_leave_no_byte_code_and_are_read_anew(study_folder: Path) -> None:
    file = study_folder / "study.py"
    for seeds in (2, 3, 4):  # the same size and, to the second, the same time
        file.write_text(PYTHON.format(text=TINY_STUDY.replace("seeds: 2", f"seeds: {seeds}")))
        assert load_study(file).study.seeds == seeds
    assert not (study_folder / "__pycache__").exists()


# ------------------------------------------------------------------------------------------------------- mistakes

JUNK = (
    "", "null", "[]", "{}", "-1", "0", "1e999", ".nan", "&a [*a]", "*a", "!!python/name:os.system", "\x00", "\u2028",
    "2026-13-45", "<<", "''", "true", "9" * 5000, "? [1]", "- ", "{a: {b: c}}", "study.yaml", ".", "/", "a/b", '"\\0"',
    "x" * 300, "[[[[", "!!int x", "0b2", "=", "~", "verify", "[verify, {filter: {pattern: '['}}]", "{filter: 3}", "é",
)  # fmt: skip
LINES = st.integers(0, DESIGNED.count("\n") - 1)
MUTATIONS = st.one_of(
    st.tuples(st.just("delete"), LINES, st.just("")),
    st.tuples(st.just("repeat"), LINES, st.just("")),
    st.tuples(st.just("swap"), LINES, st.just("")),
    st.tuples(st.just("indent"), LINES, st.sampled_from((" ", "  ", "\t", "- "))),
    st.tuples(st.just("value"), LINES, st.sampled_from(JUNK)),
    st.tuples(st.just("inner"), st.integers(0, len(DESIGNED)), st.sampled_from(JUNK)),
    st.tuples(st.just("character"), st.integers(0, len(DESIGNED) - 1), st.characters(codec="utf-8")),
)


def mutate(text: str, kind: str, where: int, junk: str) -> str:
    lines = text.split("\n")
    at = where % len(lines)
    if kind == "delete":
        del lines[at]
    elif kind == "repeat":
        lines.insert(at, lines[at])
    elif kind == "swap":
        lines[at], lines[at - 1] = lines[at - 1], lines[at]
    elif kind == "indent":
        lines[at] = junk + lines[at]
    elif kind == "value":
        lines[at] = lines[at].split(":")[0] + ": " + junk
    elif kind == "inner":  # the value after the next colon
        start = text.find(": ", where)
        end = min((i for i in (text.find(c, start + 2) for c in ",}\n") if i > 0), default=len(text))
        return text[: start + 2] + junk + text[end:] if start > 0 else text
    else:
        at = where % max(1, len(text))
        return text[:at] + junk + text[at + 1 :]
    return "\n".join(lines)


@given(st.lists(MUTATIONS, min_size=1, max_size=3))
@example([("value", 3, "study.yaml")])
@example([("value", 0, "&a [*a]")])
@example([("value", 20, '"\\0"')])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)
def test_whatever_is_written_is_a_study_or_one_sentence_with_a_place(
    tmp_path: Path, mutations: list[tuple[str, int, str]]
) -> None:
    text = DESIGNED
    for kind, where, junk in mutations:
        text = mutate(text, kind, where, junk)
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        said = f"{load_study(file).lines[()][0]}: a study"
    except RequestError as error:
        said = str(error)
    assert said.startswith(f"{file}:")
    assert not set("\n\0") & set(said)


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_bytes_that_are_no_study_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study.yaml").write_bytes(content)
    assert refused(tmp_path / "study.yaml").startswith(str(tmp_path / "study.yaml"))
