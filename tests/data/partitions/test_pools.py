"""Pools and training sets in parts are those made in memory: rows, ledger, places, digests and messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.partitions import PartitionedPools, parts
from harness.data.pools import File, LocalPools, Pool
from harness.data.variants import DrawRequest
from harness.errors import RequestError
from harness.records import ITEM_COLUMNS
from harness.spec import Decontaminate, Source, Variant
from tests.data.paraphrases import CASES
from tests.data.partitions.here import Here

WORDS = ["one", "two", "Three", "four!", "5", "six"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
RECORD = st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT, "score": st.integers(0, 3)})
CHAINS: list[list[Any]] = [
    [],
    ["clean"],
    [{"filter": {"min_words": 2}}],
    [{"filter": {"score": "score", "min_score": 1}}, "clean", {"pii": {"kinds": ["card"]}}],
    [{"dedupe": {}}],
    ["clean", {"dedupe": {"method": "near", "threshold": 0.5}}, {"sample": {"fraction": 0.8}}],
    [{"dedupe": {"field": "prompt"}}, {"filter": {"max_words": 5}}, {"sample": {"fraction": 0.5}}],
    [{"sample": {"fraction": 0.7}}, {"dedupe": {}}, {"sample": {"rows": 2}}],
    ["clean", {"filter": {"exclude": "six"}}, {"dedupe": {"field": "completion"}}, {"filter": {"min_chars": 9}}],
    [{"dedupe": {}}, {"use": "mine:shout"}, {"dedupe": {"field": "prompt"}}, {"use": "mine:shout"}],
]
MINE = """
def shout(row):
    return None if "5" in row["completion"] else row | {"prompt": row["prompt"].upper() + "!"}
"""


class Made:
    """A pool that was made, as the builder hands it on (``pools.Stored``)."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.digest = pool, pool.digest

    def table(self, name: str) -> pl.DataFrame:
        if name in self.pool.tables:
            return self.pool.tables[name]
        return pl.read_parquet([file.path for file in self.files(name) or []])

    def files(self, name: str) -> list[File] | None:
        return [File(path) for path in self.pool.files[name]] if name in self.pool.files else None


@pytest.fixture
def parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PartitionedPools:
    monkeypatch.setattr(parts, "ROWS", 3)
    return PartitionedPools(Here(), tmp_path / "work" / "scratch")


def outcome(make: Any) -> Any:
    """Return what is made, or the message that says why not."""
    try:
        return make()
    except RequestError as error:
        return str(error)


def same(one: Pool | str, other: Pool | str) -> None:
    """Two pools hold the same, wherever it is."""
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    assert other.data == one.data
    for name in one.tables:
        assert Made(other).table(name).equals(Made(one).table(name)), name
    assert other.digest == one.digest


def written(folder: Path, files: list[list[dict[str, Any]]]) -> Path:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for number, rows in enumerate(files):
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def both(parted: PartitionedPools, source: Source, base: Path, **more: Any) -> tuple[Pool | str, Pool | str]:
    arguments = ("s", source, base, more.get("tokens"), more.get("perplexity"))
    return outcome(lambda: LocalPools().read(*arguments)), outcome(lambda: parted.read(*arguments))


SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SLOW
@given(st.lists(st.lists(RECORD, max_size=9), min_size=1, max_size=3), st.sampled_from(CHAINS), st.integers(0, 3))
def test_sources(
    parted: PartitionedPools, tmp_path: Path, files: list[list[dict[str, Any]]], chain: list[Any], rows: int
) -> None:
    folder = written(tmp_path / "data", files)
    (tmp_path / "mine.py").write_text(MINE)
    source = Source.model_validate(
        {"path": "data", "columns": ["score"], "operations": chain, "rows": rows * 4 or None, "on_bad_row": "drop"}
    )
    same(*both(parted, source, folder.parent))


@pytest.mark.parametrize("on_bad_row", ["stop", "drop"])
@pytest.mark.parametrize("bad", [0, 4, 5, 11])
def test_bad_rows_are_counted_through_all_files(
    parted: PartitionedPools, tmp_path: Path, bad: int, on_bad_row: str
) -> None:
    lines = [json.dumps({"prompt": f"p{n}", "completion": "c"}) for n in range(12)]
    lines[bad] = '{"prompt": "p"}'
    (tmp_path / "data").mkdir()
    for number in range(3):
        (tmp_path / "data" / f"{number}.jsonl").write_text("\n".join(lines[number * 4 : number * 4 + 4]) + "\n")
    source = Source(path="data", fields={"prompt": "prompt", "completion": "completion"}, on_bad_row=on_bad_row)  # type: ignore[arg-type]
    local, other = both(parted, source, tmp_path)
    same(local, other)
    assert isinstance(local, Pool) == (on_bad_row == "drop")


def item(number: int, question: str, answer: str = "42") -> dict[str, Any]:
    given = {"item_id": f"i{number}", "task": "t", "question": question, "answer": answer, "choices": []}
    return {name: given.get(name, 0 if kind == "int" else "") for name, kind in ITEM_COLUMNS.items()}


STORY = "Ann buys six red apples and three pears at the market and pays with a note, how much is left?"
SUITE = pl.DataFrame([item(0, STORY), item(1, "4 + 1"), item(2, "Who was the first king of the old isles there?")])
PROMPT = st.sampled_from(
    [STORY, STORY.replace("red", "green"), "4 + 1", "What is 4 + 1 please", "Please add 2 + 7 now", "one", "two"]
    + [f"{frame} {core}" for frame in ("Tell me", "So, then") for core in ("4 + 1", "2 + 2", "7", "x", "y z", "u v w")]
    + [f"Well, {word}. Ann buys six red apples and three pears at the market and {word}." for word in "abcdefgh"]
)


@SLOW
@given(st.lists(PROMPT, min_size=1, max_size=25), st.sampled_from(["keep", "drop"]))
def test_decontamination(parted: PartitionedPools, tmp_path: Path, prompts: list[str], templates: str) -> None:
    folder = written(tmp_path / "data", [[{"prompt": prompt, "completion": "c"} for prompt in prompts]])
    local, other = both(parted, Source(path="data"), folder.parent)
    assert isinstance(local, Pool)
    assert isinstance(other, Pool)
    rule = Decontaminate(templates=templates)  # type: ignore[arg-type]
    same(LocalPools().decontaminated(Made(local), SUITE, rule), parted.decontaminated(Made(other), SUITE, rule))


def test_paraphrases(parted: PartitionedPools, tmp_path: Path) -> None:
    records = [
        {"prompt": asked, "completion": said}
        for case in CASES[:24] for asked, said in ((case.same, case.answer), (case.other, case.reply))
    ]  # fmt: skip
    suite = pl.DataFrame([item(number, case.item) | {"answer": case.answer} for number, case in enumerate(CASES)])
    local, other = both(parted, Source(path="data"), written(tmp_path / "data", [records]).parent)
    assert isinstance(local, Pool)
    assert isinstance(other, Pool)
    made = LocalPools().decontaminated(Made(local), suite, Decontaminate())
    same(made, parted.decontaminated(Made(other), suite, Decontaminate()))
    assert made.data["kinds"]["semantic"] > 5


MIXES: list[dict[str, Any]] = [
    {"mix": {"a": 5}},
    {"mix": {"a": "all", "b": 3}},
    {"mix": {"a": 4, "b": 4}, "operations": ["clean", {"filter": {"min_words": 2}}]},
    {"mix": {"b": 3, "a": 6}, "operations": [{"dedupe": {}}, {"sample": {"fraction": 0.6}}]},
    {"mix": {"b": 4, "a": 9}, "operations": [{"dedupe": {"method": "near", "threshold": 0.6, "field": "prompt"}}]},
    {"mix": {"a": 40}, "max_repeats": 20, "operations": [{"dedupe": {"field": "completion"}}]},
    {"mix": {"a": 0.5, "b": 0.5}, "tokens": 30, "max_repeats": 3, "operations": [{"filter": {"exclude": "six"}}]},
    {"mix": {"a": "all"}, "operations": [{"sample": {"rows": 4}}, {"pii": {}}]},
]


def tokens(rows: pl.DataFrame) -> list[int]:
    return [len(prompt) % 5 + 1 for prompt in rows["prompt"]]


@SLOW
@given(
    st.lists(RECORD, min_size=1, max_size=14), st.lists(RECORD, min_size=1, max_size=8), st.sampled_from(MIXES),
    st.sampled_from(["steps", "rows", "tokens"]), st.integers(0, 5),
)  # fmt: skip
def test_variants(
    parted: PartitionedPools, tmp_path: Path, a: list[Any], b: list[Any], mix: dict[str, Any], match: str, seed: int
) -> None:
    pools: dict[str, tuple[Made, Made]] = {}
    for name, rows in {"a": a, "b": b}.items():
        folder = written(tmp_path / name, [rows])
        arguments: Any = (name, Source(path=name, columns=("score",), on_bad_row="drop"), folder.parent, None, None)
        try:
            pools[name] = (Made(LocalPools().read(*arguments)), Made(parted.read(*arguments)))
        except RequestError:
            return  # all rows are bad
    variant = Variant.model_validate(mix)
    asked = DrawRequest(variant, seed=seed, match=match, tokens=tokens, folder=tmp_path)
    local = outcome(lambda: LocalPools().variant(asked, {n: one for n, (one, _) in pools.items()}))
    other = outcome(lambda: parted.variant(asked, {n: two for n, (_, two) in pools.items()}))
    if isinstance(local, str) or isinstance(other, str):
        assert other == local
        return
    assert other.rows.equals(local.rows)
    assert other.drops.equals(local.drops)
