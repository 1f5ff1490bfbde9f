"""What it takes to add an operation, a design or an objective: one file and one line, counted, and done to a study."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from difflib import ndiff
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
import yaml

from harness.data.operations import Context, apply
from harness.data.partitions.chain import stages
from harness.data.rows import frame
from harness.errors import RequestError
from harness.spec import Clean, Dedupe, Sample
from harness.spec.operations.base import BaseOperation, Done, Gone
from harness.store import Store
from tests import test_objectives
from tests.command import harness

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
LONGEST = 40  # lines of a file that is added
OPERATIONS, DESIGNS, OBJECTIVES = "spec/operations", "spec/designs", "spec/objectives"
CHAINS = {
    "unprefix": "[{unprefix: {phrase: 'Well, '}}, dedupe]",
    "longest": "[clean, {longest: {share: 0.3}}, {longest: {share: 0.5}}]",
}
ROWS = ["Well, a", "a", "Well, ", "bbb", "a long one", "Well, a long one", "cc", "ccc", "dddd", "e", "ee"]
# What a user of the changed package does: rows in memory and rows in parts, three to a part.
BOTH_WAYS = """
import sys
from pathlib import Path
import harness
from harness.data.pools import LocalPools
from harness.data.partitions import PartitionedPools, parts
from harness.loading import load_study
from tests.data.partitions.here import Here
from tests.data.partitions.test_pools import same

folder = Path.cwd()
assert Path(harness.__file__).is_relative_to(folder), harness.__file__
source = load_study(folder / "study.yaml").study.sources["s"]
parts.ROWS = 3
local = LocalPools().read("s", source, folder, None, None)
pools = PartitionedPools(Here(), folder / "scratch")
same(local, pools.read("s", source, folder, None, None))
for text in local.tables["rows"]["completion"]:
    print("row", text)
for reason in local.tables["drops"]["reason"]:
    print("drop", reason)
"""
STUDY = """
study: added
question: Does it help?
model: model
recipe: {steps: 2}
suite:
  suite: s
  tasks: {sums: {generator: reasoning-gym, task: chain_sum, items: 8, question: "{expression}"}}
sources: {s: {path: rows.jsonl, on_bad_row: drop, operations: CHAIN}}
baseline: {mix: {s: 3}}
arms: {more: {mix: {s: 4}}}
decide: {metric: sums/exact_match, smallest_effect: 0.1}
"""


def added(folder: Path, name: str, where: str) -> Path:
    """Copy the package and add a file to it and a line; what that took is counted."""
    package = folder / "harness"
    shutil.copytree(REPOSITORY / "harness", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / f"{name}.py", package / where / f"{name}.py")
    union = package / where / "__init__.py"
    lines = union.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if " as " in line and line.startswith("from harness."))
    module = f"harness.{where.replace('/', '.')}.{name}"
    made = name.upper() if where == OBJECTIVES else name.capitalize()
    lines.insert(first, f"from {module} import {made} as {made}")
    union.write_text("\n".join(lines) + "\n")
    changed = {
        path.relative_to(package): [line for line in ndiff(_lines(path, package), path.read_text().splitlines())
                                    if line[:1] in "+-"]
        for path in package.rglob("*.py") if _lines(path, package) != path.read_text().splitlines()
    }  # fmt: skip
    assert set(changed) == {Path(where, f"{name}.py"), Path(where, "__init__.py")}
    assert len(changed[Path(where, "__init__.py")]) == 1
    assert len(changed[Path(where, f"{name}.py")]) < LONGEST
    return folder


def _lines(path: Path, package: Path) -> list[str]:
    before = REPOSITORY / "harness" / path.relative_to(package)
    return before.read_text().splitlines() if before.is_file() else []


def python(folder: Path, program: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def write_study(folder: Path, chain: str) -> None:
    rows = [f'{{"prompt": "p{number}", "completion": "{text}"}}\n' for number, text in enumerate(ROWS)]
    (folder / "rows.jsonl").write_text("".join(rows).replace('"p1"', '"p0"'))
    (folder / "study.yaml").write_text(STUDY.replace("CHAIN", chain))


@pytest.mark.parametrize(
    ("name", "rows", "reasons"),
    [
        (
            "unprefix",
            ["a", "bbb", "a long one", "a long one", "cc", "ccc", "dddd", "e", "ee"],
            ["nothing but the phrase", "repeats "],
        ),
        ("longest", ["a", "cc", "e", "ee"], ["among the longest 30%"] * 3 + ["among the longest 50%"] * 4),
    ],
)
def test_an_operation_is_a_file_and_a_line(tmp_path: Path, name: str, rows: list[str], reasons: list[str]) -> None:
    folder = added(tmp_path, name, OPERATIONS)
    write_study(folder, CHAINS[name])
    said = python(folder, BOTH_WAYS)
    assert [line[4:] for line in said if line.startswith("row ")] == rows
    told = [line[5:] for line in said if line.startswith("drop ")]
    assert len(told) == len(reasons)
    assert all(line.startswith(reason) for line, reason in zip(told, reasons, strict=True)), told


def test_a_misspelt_name_finds_what_was_added(tmp_path: Path) -> None:
    folder = added(tmp_path, "longest", OPERATIONS)
    write_study(folder, "[{longst: {share: 0.5}}]")
    program = """
from pathlib import Path
from harness.errors import RequestError
from harness.loading import load_study
try:
    load_study(Path("study.yaml"))
except RequestError as error:
    print(error)
"""
    assert 'no operation is named "longst". Did you mean "longest"' in python(folder, program)[0]


def test_a_design_is_a_file_and_a_line(tmp_path: Path) -> None:
    folder = added(tmp_path, "doubled", DESIGNS)
    write_study(folder, "[]")
    (folder / "study.yaml").write_text((folder / "study.yaml").read_text() + "designs: [doubled]\n")
    program = """
from pathlib import Path
from harness.decisions import questions
from harness.loading import load_study
study = load_study(Path("study.yaml")).study
print(dict(study.arms["twice-s"].mix), study.arms["twice-s"].tests)
print([(one.subject, one.plus, one.minus) for one in questions(study, {})])
"""
    assert python(folder, program) == ["{'s': 6} s", "[('s', ('twice-s',), ('baseline',))]"]


def test_an_objective_is_a_file_and_a_line(tmp_path: Path, tiny: Path) -> None:
    folder = added(tmp_path, "whole", OBJECTIVES)
    shutil.copytree(tiny, folder / "model")
    program = """
from pathlib import Path
from harness.data.rows import frame
from harness.spec import DRAFTED, Recipe
from harness.tokens import RowEncoder
from harness.trainable import cut_off, unusable
recipe = Recipe(objective="whole", steps=1)
encoder = RowEncoder(Path("model"), chat_template=False, max_length=9, objective=recipe.objective)
print(encoder.encode({"prompt": "12 + ", "completion": "3"}).start, DRAFTED["completion"].name)
rows = frame([{"prompt": "long " * 9, "completion": "yes"}, {"prompt": "a", "chosen": "b", "rejected": "c"}])
print(cut_off(encoder, rows[:1])[0], unusable(encoder, rows).to_list())
"""
    told = "it is a preference pair, which objective whole cannot use; use dpo"
    assert python(folder, program) == ["0 sft", f"None [None, '{told}']"]


@pytest.mark.slow
def test_an_objective_with_another_trainer_is_a_file_and_a_line(study_folder: Path) -> None:
    """From rows to a verdict; rows of another objective are refused in its own words."""
    folder = added(study_folder, "simpo", OBJECTIVES)
    changed: dict[str, Any] = {"cwd": folder, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    (folder / "study.yaml").write_text(yaml.safe_dump(test_objectives.study("simpo")))
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}')
    refused = harness("plan", "study.yaml", **changed)
    assert refused.code == 2
    assert "objective simpo needs prompt, chosen and rejected" in refused.err
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, test_objectives.ROWS["dpo"])))
    done = harness("run", "study.yaml", "--workers", "1", **changed)
    assert done.code == 0, done.err
    adapters = Store(folder / ".harness").artifacts("adapter")
    assert len(adapters) == 4
    for adapter in adapters:
        assert adapter.record.spec["recipe"]["objective"] == "simpo"
        # A margin of 0.5 is asked for, and an untrained model prefers next to nothing; without one it would be log 2.
        assert adapter.record.data["curve"][0]["loss"] == pytest.approx(math.log(1 + math.exp(0.5)), abs=0.1)
    assert len({adapter.record.digest for adapter in adapters}) == 4
    decided = harness("decide", "study.yaml", "--json", **changed).json
    assert [one["subject"] for one in decided["decisions"]] == ["own"]


# -------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("kept", ['name="whole", ', "drafted=()"])
def test_two_objectives_of_one_name_or_for_the_same_rows_are_refused(tmp_path: Path, kept: str) -> None:
    folder = added(tmp_path, "whole", OBJECTIVES)
    file = folder / "harness" / OBJECTIVES / "whole.py"
    file.write_text(file.read_text().replace(kept, ""))
    said = subprocess.run([sys.executable, "-c", "import harness.spec"], cwd=folder, capture_output=True, check=False)
    assert b"TypeError: two objectives have one name, or are drafted for the same rows" in said.stderr


def defined(**body: Any) -> type[BaseOperation]:
    """Define an operation as a module would."""
    return type(
        "Odd", (BaseOperation,), {"__module__": __name__, "__annotations__": {"op": "str"}, "op": "odd", **body}
    )


def unchanged(self: BaseOperation, rows: pl.DataFrame, context: Context) -> Done:
    return Done(rows)


def nothing(self: BaseOperation, keys: pl.DataFrame, context: Context) -> Gone:
    return Gone([], "")


def lengths(self: BaseOperation, rows: pl.DataFrame, context: Context) -> pl.DataFrame:
    return rows.select(pl.col("prompt").str.len_chars())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"do": unchanged}, 'Odd declares no scope: write scope = "row" where what becomes of a row'),
        ({"do": unchanged, "scope": "rows"}, "declares no scope"),
        ({"key": lengths, "gone": nothing}, "declares no scope"),
        ({"scope": "row"}, r'has scope "row" and does not define do\(\)'),
        ({"scope": "all", "gone": nothing}, r'has scope "all" and does not define key\(\)'),
        ({"scope": "row", "do": unchanged, "gone": nothing}, r'has scope "row" and defines gone\(\)'),
        ({"scope": "all", "do": unchanged, "key": lengths, "gone": nothing}, r'has scope "all" and defines do\(\)'),
    ],
)
def test_an_operation_says_its_scope_and_keeps_to_it(body: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        defined(**body)


def test_only_operations_on_each_row_share_a_stage() -> None:
    rowwise, across = defined(scope="row", do=unchanged)(), defined(scope="all", key=lengths, gone=nothing)()
    assert stages([rowwise, across, rowwise, Clean(), across, Sample(rows=1), Dedupe(), rowwise]) == [
        (0, 1), (1, 4), (4, 5), (5, 6), (6, 8),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda self, rows, context: Done(rows.head(1)), "for each of 2 rows; it returned 1 rows and no reasons"),
        (lambda self, rows, context: Done(rows, pl.Series(["x"])), "it returned 2 rows and 1 reasons"),
        (
            lambda self, rows, context: Done(rows.with_columns(prompt=pl.lit("new"))),
            "the row f:0 has another content, and the operation does not say that it `changes`",
        ),
    ],
)
def test_an_operation_on_each_row_returns_each_row(do: Any, message: str) -> None:
    rows = frame([{"source": "s", "prompt": text, "meta": '{"place": "f:0"}'} for text in "ab"])
    with pytest.raises(RequestError, match=message) as caught:
        apply(rows, defined(scope="row", do=do)(), Context("sources.s", 0))
    assert str(caught.value).startswith("sources.s: odd: ")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (Gone([2], "x"), "gone() returns different rows from 0 to 1, and a reason for each; it returned 1 rows"),
        (Gone([-1], "x"), "gone() returns different rows"),
        (Gone([0, 0], "x"), "gone() returns different rows"),
        (Gone([0, 1], ["x"]), "gone() returns different rows"),
        (Gone([0, 1], "x", [1]), "gone() returns different rows"),
        (None, "key() returned 1 rows for 2; it returns one for each"),
    ],
)
def test_an_operation_across_rows_names_rows_that_there_are(gone: Gone | None, message: str) -> None:
    rows = frame([{"source": "s", "prompt": text} for text in "ab"])
    made = defined(
        scope="all",
        key=lengths if gone else lambda self, rows, context: lengths(self, rows.head(1), context),
        gone=lambda self, keys, context: gone,
    )
    with pytest.raises(RequestError, match=re.escape(f"sources.s: odd: {message}")):
        apply(rows, made(), Context("sources.s", 0))


def test_reading_a_study_needs_no_data_code() -> None:
    program = "import sys, harness.spec; print({'polars', 'numpy', 'harness.data'} & set(sys.modules))"
    assert python(REPOSITORY, program) == ["set()"]


def test_scope_is_no_field() -> None:
    """What an operation says of itself is in no identity, so not in any key."""
    kinds: list[Literal["row", "all"]] = [Clean.scope, Dedupe.scope]
    assert kinds == ["row", "all"]
    assert Clean().identity() == {"op": "clean", "repair": True}
