"""``harness init``: whatever rows people have, its study can be planned and run, and never trains on its items."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl
import pytest
import yaml

from harness.errors import RequestError
from harness.loading import load_study
from harness.models import Model
from harness.scaffold import Asked, first_study
from harness.scaffold.columns import mapped
from harness.scaffold.size import Machine, size
from harness.store import Store
from harness.tokens import RowEncoder
from tests.cli import made
from tests.cli.made import KINDS
from tests.command import harness
from tests.nursery import Nursery

TWO_CORES = Machine(2, 95.0, 300.0, False, 25.0, "cpu")


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    shutil.copytree(tiny, tmp_path / "model")
    return tmp_path


def start(cli: Any, folder: Path, *arguments: str) -> Any:
    """Call ``init --json`` on the tiny model; return what it says."""
    done = cli("init", *arguments, "--model", "model", "--json", cwd=folder)
    assert done.code == 0, done.err
    return done.json


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ------------------------------------------------------------------------------------------------- all kinds of rows


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_a_study_that_never_trains_on_its_items(cli: Any, folder: Path, kind: str) -> None:
    make, arguments, asked, metric = KINDS[kind]
    make(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    said = start(cli, folder, *arguments.split())
    assert said["suite"]["kind"] == asked
    assert said["metric"] == f"own/{metric}"
    assert {name: (folder / name).read_bytes() for name in before} == before  # nobody's file was touched
    loaded = load_study(folder / "study.yaml")
    assert loaded.study.decide.metric == said["metric"]
    assert loaded.study.controls == ("aa", "random_subset")
    items = read(folder / "study-data" / "own" / "own.jsonl")
    assert len(items) == sum(said["suite"]["items"].values()) >= 8
    texts = {item["question"] or item["answer"] for item in items}
    assert len(texts) == len(items)
    for name, source in loaded.study.sources.items():
        from harness.data.sources import load

        rows = load(name, source, folder).rows
        assert said["baseline"][name] < rows.height
        kept = set(pl.concat([rows[column].drop_nulls() for column in ("prompt", "text")]))
        assert not kept & texts
        assert rows.height <= said["sources"][name]["rows"] - said["suite"]["items"].get(name, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sums", "labelled", "talks", "texts", "pairs"])
def test_what_is_written_runs_to_its_end(cli: Any, nursery: Nursery, folder: Path, kind: str) -> None:
    """One of each way to ask: exact match of two sources, labels, conversations, raw text, preferences."""
    make, arguments, _, metric = KINDS[kind]
    make(folder)
    start(cli, folder, *arguments.split(), "--minutes", "1")
    shorter = (
        (folder / "study.yaml")
        .read_text()
        .replace("seeds: {from: 2, to: 4}", "seeds: [1]")
        .replace("random_subset]", "]")
    )
    (folder / "study.yaml").write_text(shorter.replace("steps: 16", "steps: 4").replace("steps: 17", "steps: 4"))
    done = nursery.call("run", "study.yaml", "--no-track", "--workers", "1", "--json", cwd=folder)
    assert done.code == 0, done.err
    assert done.json["failed"] == []
    compared = cli("compare", "study.yaml", "--json", cwd=folder)
    assert compared.json["metric"] == f"own/{metric}"
    assert {arm["variant"] for arm in compared.json["arms"]} > {"aa"}
    if not metric.startswith("gold"):
        return
    trust = " ".join(check["text"] for check in cli("decide", "study.yaml", "--json", cwd=folder).json["trust"])
    assert "most frequent answer" not in trust  # a share of items says nothing about log-likelihoods


@pytest.mark.slow
def test_plan_takes_what_is_written(cli: Any, folder: Path) -> None:
    """A wrong answer in every third row: the items are right ones, and an arm asks whether verifying helps."""
    KINDS["solutions"][0](folder)
    said = start(cli, folder, "maths.jsonl")
    assert said["arms"] == ["verified"]
    items = read(folder / "study-data" / "own" / "own.jsonl")
    assert all(int(item["answer"].split("#### ")[1]) % 2 == 0 for item in items)
    planned = harness("plan", "study.yaml", "--json", cwd=folder)
    assert planned.code == 0, planned.err
    assert [variant["name"] for variant in planned.json["variants"]][:2] == ["baseline", "verified"]
    assert len(planned.json["runs"]) == said["runs"]
    assert planned.json["cost"]["seconds"] == pytest.approx(said["seconds"], rel=0.35)
    assert planned.json["decontamination"]["removed"] == 0


# --------------------------------------------------------------------------------------------------- where rows are


def test_files_folders_globs_and_splits(cli: Any, folder: Path) -> None:
    (folder / "data").mkdir()
    for part in range(3):
        made.lines(folder / "data" / f"part-{part}.jsonl", made.sums(40, 100 * part))
    assert start(cli, folder, "data/part-*.jsonl")["sources"]["part"]["rows"] == 120
    assert start(cli, folder, "data", "--force")["sources"]["data"]["rows"] == 120
    said = start(cli, folder, *(f"data/part-{part}.jsonl" for part in range(3)), "--force")
    assert list(said["sources"]) == ["part-0", "part-1", "part-2"]
    assert said["left_out"] == ["part-0", "part-1", "part-2"]
    shutil.move(folder / "data" / "part-2.jsonl", folder / "data" / "test-2.jsonl")
    said = start(cli, folder, "data", "--force")  # a folder as the Hub has it: the test split is what is tested on
    assert said["sources"]["data"]["rows"] == 80
    assert said["suite"]["items"] == {"test": 40}
    assert not (folder / "study-data" / "train").exists()
    assert load_study(folder / "study.yaml").study.sources["data"].path == ("data/part-0.jsonl", "data/part-1.jsonl")


def test_a_file_to_test_on(cli: Any, folder: Path) -> None:
    made.lines(folder / "ours.jsonl", made.sums(60))
    made.lines(folder / "exam.jsonl", made.sums(30, 500))
    said = start(cli, folder, "ours.jsonl", "--eval", "exam.jsonl", "--out", "first.yaml", "--name", "mine")
    assert said["study"] == "mine"
    assert said["suite"]["items"] == {"test": 30}
    assert load_study(folder / "first.yaml").study.sources["ours"].path == "ours.jsonl"


def test_a_suite_of_ones_own(cli: Any, folder: Path) -> None:
    made.lines(folder / "ours.jsonl", made.sums(60))
    task = {"task": "chain_sum", "generator": "reasoning-gym", "items": 20, "config": {"max_terms": 2}}
    (folder / "suite.yaml").write_text(yaml.safe_dump({"suite": "sums", "tasks": {"sums": task}}))
    said = start(cli, folder, "ours.jsonl", "--suite", "suite.yaml")
    assert said["metric"] == "sums/exact_match"
    assert load_study(folder / "study.yaml").study.suite.suite == "sums"
    assert [path.name for path in (folder / "study-data").iterdir()] == ["study.schema.json"]


def test_a_dataset_of_the_hub(cli: Any, folder: Path) -> None:
    commit = "0123456789" * 4
    refused = cli("init", f"me/mine@{commit}", "--model", "model", cwd=folder)
    assert refused.code == 2
    assert "which HF_HUB_OFFLINE switches off here" in refused.err
    assert refused.err.count("\n") == 1
    assert "A dataset of the Hub is written me/mine@<commit>." in cli("init", "me/mine", cwd=folder).err
    (folder / "me" / "mine").mkdir(parents=True)
    made.lines(folder / "me" / "mine" / "train.jsonl", made.sums(60))  # as if it were there
    start(cli, folder, f"me/mine@{commit}")
    study = load_study(folder / "study.yaml").study
    assert (study.sources["mine"].hub, study.sources["mine"].revision) == ("me/mine", commit)
    moving = cli("init", "me/mine@main", "--model", "model", "--force", cwd=folder.parent)
    assert moving.code == 2


# ------------------------------------------------------------------------------------------------------ what it sees


def test_what_is_odd_is_said(cli: Any, folder: Path) -> None:
    rows = made.sums(60)
    rows += rows[:9]  # repeats
    rows += [{"question": f"Écrivez à jean{i}@exemple.fr à propos de la facture numéro {i} de mai", "answer": "ok, je le fais dès aujourd'hui pour vous"} for i in range(20)]  # fmt: skip # noqa: E501
    for i, row in enumerate(rows):
        row["user_id"], row["topic"] = f"u{i // 3}", ("billing", "technical")[i % 2]
    (folder / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    done = cli("init", "odd.jsonl", "--model", "model", cwd=folder)
    assert done.code == 0, done.err
    for words in (
        "1 row of no use; the first, odd.jsonl:90: not JSON", "with the same words as an earlier one",
        'rows with the same "user_id" belong together', 'effects are also shown by "topic"', "hold e-mail addresses",
        "Held out", "Check ", "about ", "seeds of every arm", "Written     study.yaml",
    ):  # fmt: skip
        assert words in done.out, words
    text = (folder / "study.yaml").read_text()
    assert "# rows with the same" in text
    assert yaml.safe_load(text)["sources"]["odd"]["fields"]["group"] == "user_id"
    items = read(folder / "study-data" / "own" / "own.jsonl")
    train = read(folder / "study-data" / "train" / "odd.jsonl")
    assert not {item["group"] for item in items} & {row["user_id"] for row in train}


@pytest.mark.slow
def test_copies_of_items_are_never_trained_on(cli: Any, nursery: Nursery, folder: Path) -> None:
    """Edited copies stay in the file, and decontamination finds them."""
    rows = made.sums(80) + [
        {**row, "question": row["question"].replace("came in", "arrived in")} for row in made.sums(80)
    ]
    made.lines(folder / "twice.jsonl", rows)
    said = start(cli, folder, "twice.jsonl")
    assert any("which decontamination removes" in finding for finding in said["sources"]["twice"]["findings"])
    planned = nursery.call("plan", "study.yaml", "--json", cwd=folder).json
    assert planned["decontamination"]["removed"] > 0
    assert planned["variants"][0]["rows"] == said["baseline"]["twice"]


@pytest.mark.slow
def test_a_tiny_pool_gives_nothing_away(cli: Any, nursery: Nursery, folder: Path) -> None:
    made.lines(folder / "large.jsonl", made.sums(300))
    made.lines(folder / "small.jsonl", made.sums(12, 1000))
    said = start(cli, folder, "large.jsonl", "small.jsonl")
    assert set(said["suite"]["items"]) == {"large"}
    assert said["left_out"] == ["small"]  # 12 rows cannot stand in for the others
    assert "large cannot be left out" in (folder / "study.yaml").read_text()
    assert nursery.call("plan", "study.yaml", "--json", cwd=folder).code == 0


def test_columns_are_told_apart() -> None:
    def fields(**record: Any) -> dict[str, str]:
        return mapped(
            [record | {name: f"{value} " for name, value in record.items() if name == "x"}] * 3, "f:1", {}
        ).fields

    assert fields(Question="a?", Answer="b") == {"prompt": "Q: {Question}\nA:", "completion": " {Answer}"}
    assert fields(prompt="a ", completion="b") == {"prompt": "prompt", "completion": "completion"}
    assert fields(prompt="a", response="b") == {"prompt": "{prompt}\n", "completion": "{response}"}
    assert fields(user_message="a", assistant="b", junk=None)["completion"] == "{assistant}"
    assert fields(body="some text", id=3) == {"text": "body"}
    assert fields(instruction="a", input="b", output="c")["prompt"] == "{instruction}\n{input}\n"
    assert fields(question="a", solution="so 4", answer=4)["answer"] == "answer"
    assert fields(conversations=[{"from": "human", "value": "a"}]) == {"messages": "conversations"}
    assert fields(prompt="a", chosen="b", rejected="c") == {
        "prompt": "prompt",
        "chosen": "chosen",
        "rejected": "rejected",
    }


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("absent.jsonl", 'no file "absent.jsonl"'),
        ("our.jsonl", 'Did you mean "ours.jsonl"?'),
        ("odd.jsonl", "none of its columns (a, b) is known to be a question and an answer, a conversation, or text."),
        ("odd.jsonl --field prompt=c", '--field prompt=c: odd.jsonl:1 has no column "c". Valid here: a, b.'),
        ("odd.jsonl --field promt=a", '"promt" is not a field of a row. Did you mean "prompt"?'),
        ("empty.jsonl", "empty: no row of it can be read"),
        ("few.jsonl", "left to train on once items for testing are taken out"),
        ("ours.jsonl notes.jsonl", "ours is for objective sft and notes for text; a study trains one objective"),
        ("ours.jsonl --model nowhere", "model: nowhere is no embedded model"),
        ("ours.jsonl --out study.txt", "--out: study.txt: a study is a .yaml file"),
        ("ours.jsonl --out there/study.yaml", "--out: there/study.yaml: there is no folder there"),
        ("ours.jsonl --name my/study", "--name: 'my/study' is not a name: letters, digits"),
        ("ours.jsonl --metric acc", "--metric: goes with --suite, and is written TASK/METRIC"),
        ("ours.jsonl --suite absent.yaml", "--suite: absent.yaml: no such file"),
        ("saved", "a dataset written by save_to_disk, which is not read; write it as parquet"),
    ],
)
def test_wrong_requests_write_nothing(cli: Any, folder: Path, arguments: str, said: str) -> None:
    made.lines(folder / "ours.jsonl", made.sums(40))
    made.lines(folder / "notes.jsonl", made.texts(40))
    made.lines(folder / "odd.jsonl", [{"a": "x", "b": "y"}])
    made.lines(folder / "few.jsonl", made.sums(9))
    (folder / "empty.jsonl").write_text("")
    (folder / "saved").mkdir()
    (folder / "saved" / "data.arrow").touch()
    (folder / "saved" / "dataset_info.json").touch()
    before = sorted(folder.rglob("*"))
    model = () if "--model" in arguments else ("--model", "model")
    refused = cli("init", *arguments.split(), *model, cwd=folder)
    assert refused.code == 2
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""
    assert sorted(folder.rglob("*")) == before


def test_nothing_is_overwritten_unasked(cli: Any, folder: Path) -> None:
    made.lines(folder / "ours.jsonl", made.sums(40))
    (folder / "study.yaml").write_text("mine\n")
    refused = cli("init", "ours.jsonl", "--model", "model", cwd=folder)
    assert (refused.code, (folder / "study.yaml").read_text()) == (2, "mine\n")
    assert "study.yaml is there already" in refused.err
    start(cli, folder, "ours.jsonl", "--force")
    first = (folder / "study.yaml").read_text()
    made.lines(folder / "study-data" / "mine.jsonl", made.sums(40))
    start(cli, folder, "ours.jsonl", "--force")
    assert (folder / "study.yaml").read_text() == first  # the same files, the same study
    assert (folder / "study-data" / "mine.jsonl").exists()
    refused = cli("init", "study-data/mine.jsonl", "--model", "model", "--force", cwd=folder)
    assert refused.code == 2
    assert "where this writes; choose another name with --out" in refused.err


# ---------------------------------------------------------------------------------------------------------------- size


@pytest.mark.parametrize("tokens", [16, 60, 150])
@pytest.mark.parametrize("pools", [{"a": 5000}, {"a": 4000, "b": 900}, {"a": 900, "b": 700, "c": 2000}])
def test_the_first_study_takes_about_a_quarter_to_half_an_hour(pools: dict[str, int], tokens: int) -> None:
    chosen = size(pools, [tokens] * 50, 12_000, 0, TWO_CORES, 25)
    assert 8 * 60 < (chosen.seconds if tokens < 150 else chosen.first) <= 25 * 60
    assert chosen.seeds >= 3
    assert sum(chosen.mix.values()) <= chosen.steps * chosen.batch
    assert set(chosen.left_out) == (set(pools) if len(pools) > 1 else set())


@pytest.mark.parametrize("minutes", [3, 6, 10, 15, 25, 60])
@pytest.mark.parametrize("tokens", [20, 110])
def test_the_first_look_is_there_when_the_time_is_over(tokens: int, minutes: float) -> None:
    """Either all looks fit the time, or the first does; where not even that is so, no smaller study was left out."""
    chosen = size({"a": 900, "b": 140, "c": 4000}, [tokens] * 50, 30_000, 0, TWO_CORES, minutes)
    runs = chosen.runs // chosen.seeds * 2
    assert chosen.first < chosen.seconds
    assert runs == 2 * (2 + len(chosen.left_out) + len(chosen.fractions))
    if chosen.first > 60 * minutes:
        assert (chosen.fractions, chosen.steps * chosen.batch) == ((), 64)
    elif chosen.seconds > 60 * minutes:
        assert chosen.seeds == 4


def test_a_faster_machine_gets_a_larger_study() -> None:
    slow = size({"a": 4000, "b": 4000}, [60], 12_000, 1, TWO_CORES, 25)
    fast = size({"a": 4000, "b": 4000}, [60], 12_000, 1, Machine(1, 10_000.0, 40_000.0, True, 25.0, "cuda"), 25)
    assert fast.seconds < slow.seconds
    assert fast.seeds * fast.steps > 2 * slow.seeds * slow.steps


def test_too_few_rows_are_no_study() -> None:
    with pytest.raises(RequestError, match="only 3 rows are left"):
        size({"a": 3}, [20], 1000, 0, TWO_CORES, 25)


# ------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("ready", [True, False])
def test_rows_are_counted_in_the_tokens_of_a_model_that_is_installed(tmp_path: Path, tiny: Path, ready: bool) -> None:
    """The embedded model is made ready for it; one of the Hub is assumed, and that is said."""
    made.lines(tmp_path / "rows.jsonl", made.sums(200))
    asked_for: list[str] = []
    file = tmp_path / "study.yaml"

    def prepare(model: Model) -> Model:
        asked_for.append(model.name)
        return replace(model, folder=tiny)

    name = "smollm2-135m-instruct" if ready else f"me/mine@{'a' * 40}"
    asked = Asked((str(tmp_path / "rows.jsonl"),), file, None, name)
    written = first_study(asked, Store(tmp_path / "store"), TWO_CORES, lambda text: None, prepare)
    findings = written.draft.pools[0].findings
    assert asked_for == ([name] if ready else [])
    assert any("the lengths of rows are assumed, 3 characters a token" in one for one in findings) is not ready
    rows = read(tmp_path / "rows.jsonl")
    encoder = RowEncoder(tiny, chat_template=False, max_length=1_000_000)
    counted = fmean(encoder.encode({"prompt": row["question"], "completion": row["answer"]}).length for row in rows)
    assumed = fmean(math.ceil(len(f"{row['question']}{row['answer']}") / 3) + 2 for row in rows)
    mean = written.draft.mean
    assert (abs(mean - counted) < abs(mean - assumed)) is ready
    assert abs(mean - (counted if ready else assumed)) < 0.1 * mean
    assert abs(counted - assumed) > 0.3 * counted  # the two can be told apart


def test_items_of_like_wording_are_told_before_anything_runs(cli: Any, folder: Path) -> None:
    rows = [{"prompt": f"Add {n} and {n + 7} for me", "completion": str(2 * n + 7)} for n in range(300)]
    told = (
        "A farmer owns {} sheep and buys {} more at the market, how many sheep now",
        "Take {} away from the sum {} of it",
    )
    asked = [{"question": told[n % 2].format(n, n + 3), "answer": str(n)} for n in range(80)]
    for name, lines in (("rows.jsonl", rows), ("asked.jsonl", asked)):
        (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    done = cli("init", "rows.jsonl", "--eval", "asked.jsonl", "--model", "model", cwd=folder)
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "items fall into 2 clusters of like wording" in said
    assert "write group: none below the task" in said
    planned = " ".join(cli("plan", "study.yaml", cwd=folder).out.split())
    assert "items of like wording count as one" in planned
    assert "group: none" in planned
