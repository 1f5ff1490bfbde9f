"""No row is lost without a word: what goes in is trained on or named in the ledger, whatever the rows are."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.partitions import PartitionedPools, parts
from harness.data.pools import LocalPools, Pool
from harness.errors import RequestError
from harness.spec import Source
from harness.study.encoding import Counter, Untrainable
from harness.tokens import RowEncoder
from tests.command import harness
from tests.data.partitions.here import Here
from tests.test_trainable import LAYOUTS, TEMPLATES

CHAINS: list[list[Any]] = [[], ["clean"], [{"filter": {"max_tokens": 40}}], [{"dedupe": {}}, {"pii": {}}]]


@pytest.fixture
def spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PartitionedPools:
    monkeypatch.setattr(parts, "ROWS", 5)
    return PartitionedPools(Here(), tmp_path / "work" / "scratch")


def made(pools: Any, *arguments: Any) -> Pool | str:
    try:
        found: Pool = pools.read("s", *arguments)
    except RequestError as error:
        return str(error)
    return found


@pytest.mark.parametrize("template", TEMPLATES)
def test_rows_in_are_rows_used_and_lines_of_the_ledger(
    tiny: Path, tmp_path: Path, spread: PartitionedPools, template: str
) -> None:
    model = Path(shutil.copytree(tiny, tmp_path / "model"))
    (model / "chat_template.jinja").write_text(TEMPLATES[template])

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        layout = data.draw(st.sampled_from(sorted(set(LAYOUTS) - {"answer"})))
        rows = data.draw(st.lists(LAYOUTS[layout], min_size=1, max_size=14))
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        objective = "dpo" if layout.startswith("pref") else data.draw(st.sampled_from(["sft", "text"]))
        objective = "sft" if objective == "text" and layout != "text" else objective
        length = data.draw(st.sampled_from([8, 30, 90, 1000]))
        counter = Counter(model, "m", data.draw(st.booleans()), length, objective, datetime.date(2026, 1, 1))
        untrainable = Untrainable(counter, every=data.draw(st.booleans()))
        uncut = Counter(model, "m", counter.chat_template, 10**9, objective, counter.date)
        source = Source.model_validate(
            {
                "path": "rows.jsonl", "fields": {name: name for name in rows[0]}, "on_bad_row": "drop",
                "operations": data.draw(st.sampled_from(CHAINS)),
            }
        )  # fmt: skip
        local, other = (
            made(pools, one, tmp_path, uncut, None, untrainable)
            for pools, one in ((LocalPools(), source), (spread, source))
        )
        stopped = made(
            LocalPools(), source.model_copy(update={"on_bad_row": "stop"}), tmp_path, uncut, None, untrainable
        )
        if isinstance(local, str):
            assert other == local
            assert "rows" in local  # nothing is left, and it says why
            return
        assert isinstance(other, Pool)
        assert (other.digest, other.data) == (local.digest, local.data)
        kept, lost = local.tables["rows"], local.tables["drops"]
        assert kept.height + lost.height == len(rows)
        assert lost["reason"].null_count() == 0
        lines = [int(place.split(":")[1]) for place in lost["place"]]
        lines += [int(json.loads(meta)["place"].split(":")[1]) for meta in kept["meta"]]
        assert sorted(lines) == [*range(1, len(rows) + 1)]
        encoder = RowEncoder(
            model, chat_template=counter.chat_template, max_length=length, objective=objective, date=counter.date
        )
        assert all(encoder.encode(row).teaches for row in kept.iter_rows(named=True))
        # Where bad rows stop all, one that cannot be trained on does, with its place, wherever it is.
        bad = [line for line in lost.iter_rows(named=True) if line["operation"] in ("read", "encode")]
        assert isinstance(stopped, str) == bool(bad)
        assert not bad or any(str(line["place"]) in str(stopped) for line in bad)

    holds()


# ------------------------------------------------------------------------------------------------------- the command

LONG, SHORT = "word " * 60, "Q: 1 + 2 =\nA:"


def study(folder: Path, rows: list[dict[str, Any]], mix: Any, **source: Any) -> None:
    """Let a study train on a file."""
    held = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    held["sources"] = {"own": {"path": "own.jsonl"} | source}
    held |= {"baseline": {"mix": {"own": mix}}, "arms": {"half": {"tests": "own", "mix": {"own": 4}}}, "controls": []}
    (folder / "study.yaml").write_text(yaml.safe_dump(held))


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"prompt": SHORT, "completion": f" {n}"} for n in range(count)]


def test_a_row_that_is_not_drawn_stops_a_plan_with_its_place(study_folder: Path) -> None:
    rows = [*pairs(30), {"prompt": SHORT, "completion": "  "}, *pairs(3)]
    study(study_folder, rows, 8)
    done = harness("plan", "study.yaml", cwd=study_folder)
    assert done.code == 2
    assert "own.jsonl:31: the completion is empty" in done.err
    assert "on_bad_row: drop" in done.err
    assert not list((study_folder / ".harness").rglob("record.json"))
    study(study_folder, rows, 8, on_bad_row="drop")
    done = harness("plan", "study.yaml", "--json", cwd=study_folder)
    assert done.json["left_out"] == {"own": {"encode": 1}}
    shown = harness("data", "show", "study.yaml:baseline", "--dropped-by", "encode", cwd=study_folder)
    assert "own.jsonl:31" in shown.out
    assert "dropped by encode: the completion is empty" in shown.out


def test_rows_whose_answer_is_cut_off_are_not_counted(study_folder: Path) -> None:
    rows = [row for pair in zip(pairs(12), [{"prompt": LONG, "completion": "x"}] * 12, strict=True) for row in pair]
    study(study_folder, [*rows, {"prompt": SHORT, "completion": " 7" * 60}], "all")
    done = harness("plan", "study.yaml", "--json", cwd=study_folder).json
    baseline = next(one for one in done["variants"] if one["name"] == "baseline")
    assert (baseline["rows"], baseline["sources"]) == (13, {"own": 13})
    assert baseline["cut"] == pytest.approx(1 / 13)
    assert done["left_out"] == {"own": {"cut": 12}}
    shown = harness("plan", "study.yaml", cwd=study_folder, COLUMNS="400").out
    assert "12 of 25 rows of own teach nothing, since they are cut before their answer begins" in shown
    assert "8% of the rows of baseline" in shown


@pytest.mark.parametrize("policy", ["drop", "stop"])
def test_a_template_that_refuses_by_what_is_said_is_met_when_rows_are_drawn(study_folder: Path, policy: str) -> None:
    """Asked once for each order of roles, it takes them; then every row is looked at."""
    (study_folder / "model" / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if 'secret' in m.content %}{{ raise_exception('not that') }}{% endif %}"
        "[{{ m.role }}]{{ m.content }}<|im_end|>{% endfor %}"
    )
    talks = [[("user", f"what is {'secret ' * (n == 9)}{n}?"), ("assistant", str(n))] for n in range(12)]
    rows = [{"messages": [{"role": role, "content": said} for role, said in talk]} for talk in talks]
    study(study_folder, rows, "all", on_bad_row=policy)
    done = harness("plan", "study.yaml", "--json", cwd=study_folder)
    if policy == "stop":
        assert done.code == 2
        assert "own.jsonl:10: the model's chat template refuses a row: not that" in done.err
        return
    assert done.code == 0, done.err
    assert done.json["left_out"] == {"own": {"encode": 1}}
    assert done.json["variants"][0]["rows"] == 11


def test_a_template_without_an_end_is_named(study_folder: Path) -> None:
    (study_folder / "model" / "chat_template.jinja").write_text(TEMPLATES["open"])
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": str(n)}]} for n in range(9)
    ]
    study(study_folder, rows, "all")
    (remark,) = harness("plan", "study.yaml", "--json", cwd=study_folder).json["remarks"]
    assert remark.startswith("End: the chat template of model ends no turn with a token at which the model stops")


def test_rows_that_an_operation_empties_go_to_the_ledger(study_folder: Path) -> None:
    """They were sound when they were read, so they stop nothing."""
    study(study_folder, [*pairs(9), {"prompt": SHORT, "completion": "\u200b"}], 8)
    held = yaml.safe_load((study_folder / "study.yaml").read_text())
    held["arms"] = {"cleaned": {"operations": ["clean"]}}
    held["baseline"] = {"mix": {"own": "all"}}
    (study_folder / "study.yaml").write_text(yaml.safe_dump(held))
    done = harness("plan", "study.yaml", "--json", cwd=study_folder)
    assert done.code == 0, done.err
    rows = {one["name"]: one["rows"] for one in done.json["variants"]}
    assert rows["baseline"] - rows["cleaned"] == 1
