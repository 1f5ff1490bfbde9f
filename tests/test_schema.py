"""What editors are told of a study agrees with what loading accepts, and what is made from the models is not stale."""

from __future__ import annotations

import copy
import datetime
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RequestError
from harness.loading import load_study
from harness.loading.documents import parse
from harness.loading.schema import EXAMPLE, study_schema
from harness.spec import DESIGNS, OPERATIONS
from tests.command import ROOT, environment, harness
from tests.conftest import TINY_STUDY
from tests.test_keys import CASES, STUDY, changed

CHECK = jsonschema.Draft202012Validator(study_schema())
BASE: dict[str, Any] = yaml.safe_load(TINY_STUDY)
# All fields that hold models, so that a wrong name can be put into each of them.
WHOLE: dict[str, Any] = BASE | {
    "baseline": {"mix": {"scraped": 16, "sums": 8}},
    "decontaminate": {"ngram": 8},
    "track": {"adapters": "copy"},
    "designs": [{"size_ladder": {"fractions": [0.5]}}, {"design": "leave_one_out"}],
    "arms": {"checked": {"operations": [{"filter": {"max_words": 40}}, {"op": "dedupe"}]}},
}


def seen(value: Any) -> Any:
    """Return a document as JSON has it: YAML knows dates besides."""
    if isinstance(value, dict):
        return {name: seen(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [seen(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def problems(study: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in CHECK.iter_errors(seen(study))]


def loads(study: dict[str, Any], folder: Path) -> bool:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    try:
        load_study(file)
    except RequestError:
        return False
    return True


# ------------------------------------------------------------------------------------------------------ what validates


def test_it_is_a_schema() -> None:
    CHECK.check_schema(CHECK.schema)


@pytest.mark.parametrize("study", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_validate(study: Path) -> None:
    load_study(study)
    assert problems(parse(study).value) == []


@pytest.mark.parametrize("study", [STUDY, BASE, WHOLE, *(changed(case.values[0]) for case in CASES)])
def test_whatever_a_field_may_hold_validates(study: dict[str, Any], tmp_path: Path) -> None:
    assert loads(study, tmp_path)
    assert problems(study) == []


def examples(model: Any) -> list[Any]:
    """Return the entries that the example in a docstring lists."""
    (listed,) = yaml.safe_load((inspect.getdoc(model) or "").split(EXAMPLE)[1].split("\n\n")[0]).values()
    return list(listed)


KINDS = [("op", name, model) for name, model in OPERATIONS.items()]
KINDS += [("design", name, model) for name, model in DESIGNS.items()]


@pytest.mark.parametrize(("tag", "name", "model"), KINDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_form_of_an_operation_or_a_design_validates(tag: str, name: str, model: Any, tmp_path: Path) -> None:
    """As its example shows it, and in the other ways it may be written."""
    sources = {source: {"path": f"{source}.jsonl"} for source in ("forum", "manual", "wiki")}
    mix = {"wiki": 400} if name == "add_one_in" else {"forum": 300, "manual": 300}
    study = BASE | {"sources": sources, "baseline": {"mix": mix}, "arms": {"arm": {"operations": ["verify"]}}}
    for shown in examples(model):
        given = {} if shown == name else shown[name]
        if not isinstance(given, dict):
            given = {model.short: given}
        forms = [shown, {name: given or None}, {tag: name, **given}]
        for form in forms:
            listed = {"designs": [form]} if tag == "design" else {"arms": {"arm": {"operations": [form]}}}
            assert loads(study | listed, tmp_path), form
            assert problems(study | listed) == [], form


def test_parts_may_be_files(tmp_path: Path) -> None:
    study = copy.deepcopy(BASE)
    for name in ("recipe", "suite"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(study[name]))
        study[name] = f"{name}.yaml"
    (tmp_path / "sums.yaml").write_text(yaml.safe_dump(study["sources"]["sums"]))
    study["sources"]["sums"] = "sums.yaml"
    assert loads(study, tmp_path)
    assert problems(study) == []


# --------------------------------------------------------------------------------------------------- what does not


def models(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every mapping whose keys are fields rather than names or settings."""
    free = place and place[-1] in ("sources", "arms", "tasks", "mix", "fields", "config", "labels")
    short = len(place) > 1 and place[-2] in ("operations", "designs") and not {"op", "design"} & set(value)
    if isinstance(value, dict):
        if not free and not short:
            yield place
        for name, inner in value.items():
            yield from models(inner, (*place, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from models(inner, (*place, index))


def at(study: Any, place: tuple[Any, ...]) -> Any:
    for part in place:
        study = study[part]
    return study


@pytest.mark.parametrize("place", list(models(WHOLE)), ids=lambda place: ".".join(map(str, place)) or "study")
def test_a_field_that_is_none_does_not_validate(place: tuple[Any, ...], tmp_path: Path) -> None:
    study = copy.deepcopy(WHOLE)
    at(study, place)["colour"] = "red"
    assert not loads(study, tmp_path)
    assert problems(study)


@pytest.mark.parametrize(
    "wrong",
    [
        {"study": "my study"},
        {"seeds": 0},
        {"seeds": "three"},
        {"match": "step"},
        {"controls": ["bb"]},
        {"decide": {"metric": "exact_match", "smallest_effect": 0.05}},
        {"decide": {"metric": "sums/exact_match", "smallest_effect": 0}},
        {"arms": {"a b": {"operations": ["verify"]}}},
        {"arms": {"checked": {"operations": ["verif"]}}},
        {"arms": {"checked": {"operations": ["filter"]}}},
        {"arms": {"checked": {"operations": [{"filter": {"max_words": 4}, "verify": {}}]}}},
        {"arms": {"checked": {"operations": [{"op": "filter", "max_word": 4}]}}},
        {"designs": ["size_ladder"]},
        {"designs": [{"leave_two_out": {}}]},
        {"sources": {"scraped": {"path": "rows.jsonl", "fields": {"prompts": "q"}}}},
        {"recipe": {"steps": 4, "lora": {"rank": 4}}},
        {"recipe": 7},
    ],
    ids=str,
)
def test_what_loading_refuses_of_a_field_does_not_validate(wrong: dict[str, Any], tmp_path: Path) -> None:
    assert not loads(BASE | wrong, tmp_path)
    assert problems(BASE | wrong)


@given(
    place=st.sampled_from(list(models(WHOLE))),
    value=st.none() | st.booleans() | st.integers(-3, 10**6) | st.floats(-1, 2) | st.sampled_from(["", "all", "a/b"]),
    data=st.data(),
)
def test_what_loads_validates(
    place: tuple[Any, ...], value: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever one value is replaced by: an editor never marks what can be run.

    Loading also takes numbers for true and false (``1``); those are the only values an editor minds.
    """
    study = copy.deepcopy(WHOLE)
    owner = at(study, place)
    field = data.draw(st.sampled_from(sorted(owner)))
    owner[field] = value
    if loads(study, tmp_path_factory.getbasetemp()) and not (isinstance(value, int | float) and value in (0, 1)):
        assert problems(study) == []


# ------------------------------------------------------------------------------------------------------ what is made


def test_nothing_that_is_made_from_the_models_is_stale() -> None:
    command = [sys.executable, ROOT / "scripts" / "docs", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_field_says_what_it_is() -> None:
    schema = study_schema()
    for name, model in schema["$defs"].items():
        for field, node in model.get("properties", {}).items():
            assert field in ("op", "design") or node.get("description"), f"{name}.{field}"
    assert all(node["description"] for node in schema["properties"].values())


def test_the_schema_is_printed(tmp_path: Path) -> None:
    printed = harness("schema", cwd=tmp_path)
    assert printed.code == 0, printed.err
    assert printed.json == json.loads((ROOT / "harness" / "loading" / "study.schema.json").read_text())
