"""The main job from sources to a decision on a tiny model: contracts, resuming, reproducibility, failures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.store import Store
from tests.command import HANGS, argv, environment, harness
from tests.conftest import TINY_STUDY
from tests.nursery import Nursery

pytestmark = pytest.mark.slow
RUNS = 12  # baseline, three arms, two controls; two seeds


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A folder where the tiny study has been run."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "study.yaml").write_text(TINY_STUDY)
    shutil.copytree(tiny, folder / "model")
    done = harness("run", "study.yaml", cwd=folder)
    assert done.code == 0, done.err
    assert "TRUST" in done.out
    assert "Traceback" not in done.err
    return folder


def digests(folder: Path, kind: str) -> dict[str, str]:
    return {a.record.key: a.record.digest for a in Store(folder / ".harness").artifacts(kind)}


def stamps(folder: Path, kind: str) -> dict[str, int]:
    """Return when each artifact's record was written, in nanoseconds."""
    return {
        a.record.key: (a.folder / "record.json").stat().st_mtime_ns for a in Store(folder / ".harness").artifacts(kind)
    }


# ----------------------------------------------------------------------------------------------------- contracts


def test_plan_json(finished: Path) -> None:
    plan = harness("plan", "study.yaml", "--json", cwd=finished).json
    assert plan["study"] == "tiny"
    assert [v["name"] for v in plan["variants"]] == ["baseline", "verified", "sums-16", "sums-8", "random-subset", "aa"]
    for variant in plan["variants"]:
        assert variant["rows"] == sum(variant["sources"].values())
        assert variant["tokens"] > variant["rows"]
        assert len(variant["key"]) == 16
    assert {(r["variant"], r["seed"]) for r in plan["runs"]} == {
        (v["name"], seed) for v in plan["variants"] for seed in (1, 2)
    }
    assert {r["state"] for r in plan["runs"]} == {"done"}
    assert plan["resolved"]["recipe"]["max_grad_norm"] == 1.0  # defaults are spelled out
    by_name = {v["name"]: v for v in plan["variants"]}
    assert by_name["random-subset"]["rows"] == by_name["verified"]["rows"] < by_name["baseline"]["rows"] == 16


def test_compare_json(finished: Path) -> None:
    compared = harness("compare", "study.yaml", "--json", cwd=finished)
    assert compared.code == 0
    assert compared.json["baseline"] == "baseline"
    assert compared.json["metric"] == "sums/exact_match"
    arms = {arm["variant"]: arm for arm in compared.json["arms"]}
    assert set(arms) == {"verified", "sums-16", "sums-8", "random-subset", "aa"}
    for arm in arms.values():
        low, high = arm["ci"]
        assert low < arm["effect"] < high
        assert arm["seeds"] == 2
        assert arm["items"] == 12
        for field in ("se", "p", "p_adjusted", "effect_clean", "effect_confirmation"):
            assert field in arm
    assert any(other["metric"] == "sums/gold_logprob_per_token" for other in compared.json["others"])


def test_decide_json(finished: Path) -> None:
    decided = harness("decide", "study.yaml", "--json", cwd=finished)
    assert decided.code == 0
    decisions = {d["subject"]: d for d in decided.json["decisions"]}
    assert set(decisions) == {"verify(scraped)", "sums", "scraped"}
    for decision in decisions.values():
        # A model that has learned nothing must not get a verdict out of noise.
        assert decision["verdict"] == "INCONCLUSIVE"
        assert decision["reason"]
        assert decision["resolve"]
    assert {"check", "ok", "text"} <= set(decided.json["trust"][0])


def test_status_and_data_show(finished: Path) -> None:
    status = harness("status", "study.yaml", "--json", cwd=finished).json
    assert [run["state"] for run in status["runs"]] == ["done"] * RUNS
    shown = harness("data", "show", "study.yaml:baseline", "--json", "-n", "3", cwd=finished).json
    assert len(shown) == 3
    assert all(row["context"].startswith("Q: ") and row["learned"].endswith("<|im_end|>") for row in shown)
    dropped = harness(
        "data", "show", "study.yaml:verified", "--dropped-by", "verify", "--json", "-n", "99", cwd=finished
    )
    plan = harness("plan", "study.yaml", "--json", cwd=finished).json
    kept = Store(finished / ".harness")
    first = next(a for a in kept.artifacts("variant") if a.record.name == "tiny-verified-seed1")
    assert len(dropped.json) == 16 - first.record.data["rows"]
    assert plan["variants"][1]["rows"] < 16


# ------------------------------------------------------------------------------------------------------ resuming


def test_a_finished_study_runs_nothing_again(finished: Path) -> None:
    before = {kind: stamps(finished, kind) for kind in ("adapter", "result", "variant", "source", "suite", "tokens")}
    again = harness("run", "study.yaml", "--json", cwd=finished)
    assert again.code == 0
    assert {kind: stamps(finished, kind) for kind in before} == before
    assert len(before["adapter"]) == RUNS
    assert len(before["result"]) == RUNS + 1  # and the base model's


def test_two_clean_runs_are_identical(nursery: Nursery, finished: Path, study_folder: Path) -> None:
    # Another number of workers, another place: nothing of that may show in the outcome.
    done = nursery.call("run", "study.yaml", "--workers", "1", "--no-track", cwd=study_folder)
    assert done.code == 0, done.err
    for kind in ("source", "suite", "pool", "variant", "adapter", "result"):
        assert digests(study_folder, kind) == digests(finished, kind), kind
    compare = [harness("compare", "study.yaml", "--json", cwd=folder).json for folder in (finished, study_folder)]
    decide = [harness("decide", "study.yaml", "--json", cwd=folder).json for folder in (finished, study_folder)]
    assert compare[0] == compare[1]
    assert [d["verdict"] for d in decide[0]["decisions"]] == [d["verdict"] for d in decide[1]["decisions"]]


def _start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv("run", "study.yaml", "--no-track"), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, env=environment(), start_new_session=True,
    )  # fmt: skip


def _until(condition: Callable[[], bool], child: subprocess.Popen[str], limit: float = HANGS) -> None:
    started = time.monotonic()
    while not condition():
        assert child.poll() is None, f"ended before it could be killed: {child.stderr.read() if child.stderr else ''}"
        assert time.monotonic() - started < limit
        time.sleep(0.01)


def _count(folder: Path, kind: str) -> int:
    return len(list((folder / ".harness" / kind).glob("*/record.json")))


def _workers(folder: Path) -> Iterator[int]:
    """Return the process ids of workers, and what forks them, whose working folder is this one."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"harness.engines." in (entry / "cmdline").read_bytes() and (entry / "cwd").readlink() == folder:
                yield int(entry.name)
        except OSError:
            continue


def test_kill_dash_nine_and_run_again(finished: Path, study_folder: Path) -> None:
    """Killed while building, training and evaluating, the study ends as if nothing had happened."""
    moments: list[Callable[[], bool]] = [
        lambda: (study_folder / ".harness" / "work").is_dir(),  # building the data
        lambda: _count(study_folder, "adapter") >= 1,  # training, or evaluating the first run
        lambda: _count(study_folder, "adapter") >= 4 and _count(study_folder, "result") >= 3,
    ]
    kept: dict[str, int] = {}
    for moment in moments:
        child = _start(study_folder)
        _until(moment, child)
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        # Workers are not in the driver's group: they must leave by themselves when it is gone.
        started = time.monotonic()
        while list(_workers(study_folder)):
            assert time.monotonic() - started < 60, "a worker outlived its driver"
            time.sleep(0.05)
        assert kept.items() <= stamps(study_folder, "adapter").items()
        kept = stamps(study_folder, "adapter")
    assert 0 < len(kept) < RUNS
    done = harness("run", "study.yaml", "--no-track", cwd=study_folder)
    assert done.code == 0, done.err
    assert kept.items() <= stamps(study_folder, "adapter").items()  # no finished run was trained again
    for kind in ("variant", "adapter", "result"):
        assert digests(study_folder, kind) == digests(finished, kind), kind
    compare = [harness("compare", "study.yaml", "--json", cwd=folder).json for folder in (finished, study_folder)]
    assert compare[0] == compare[1]
    assert harness("store", "verify", cwd=study_folder).code == 0


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(study_folder: Path) -> None:
    child = _start(study_folder)
    _until(lambda: _count(study_folder, "result") >= 2, child)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=HANGS)
    assert child.returncode == 130
    assert "Go on: harness run study.yaml" in err
    assert "Traceback" not in err
    assert not list(_workers(study_folder))
    assert _count(study_folder, "result") >= 2


def test_a_failing_run_does_not_stop_the_others(nursery: Nursery, finished: Path, study_folder: Path) -> None:
    """One training set whose token ids are damaged: its run fails, all others finish, exit code 1."""
    shutil.copytree(finished / ".harness", study_folder / ".harness")
    store = Store(study_folder / ".harness")
    adapter = next(a for a in store.artifacts("adapter") if a.record.name == "tiny-sums-8-seed2")
    rows = adapter.record.inputs["rows"]
    tokens = next(a for a in store.artifacts("tokens") if a.record.inputs["rows"] == rows)
    shutil.rmtree(adapter.folder)
    (tokens.folder / "tokens.arrow").write_bytes(b"not parquet")
    failed = nursery.call("run", "study.yaml", "--no-track", cwd=study_folder)
    assert failed.code == 1
    assert "sums-8/seed 2 failed while loading" in failed.err
    assert "The other 11 runs are done. Continue: harness run study.yaml" in failed.err
    status = harness("status", "study.yaml", "--json", cwd=study_folder).json
    assert [r["state"] for r in status["runs"]].count("failed") == 1
    decided = harness("decide", "study.yaml", "--json", cwd=study_folder)
    assert decided.code == 1
    assert not next(c for c in decided.json["trust"] if "sums-8/seed 2" in c["text"])["ok"]
    # Verify names the damage and the study; with the damaged folder gone, everything is made again.
    verified = harness("store", "verify", "--json", cwd=study_folder)
    assert verified.code == 1
    assert verified.json["studies"] == ["tiny"]
    assert [p["artifact"] for p in verified.json["problems"]] == [f"tokens/{tokens.folder.name}"]
    shutil.rmtree(tokens.folder)
    assert nursery.call("run", "study.yaml", "--no-track", cwd=study_folder).code == 0
    assert digests(study_folder, "adapter") == digests(finished, "adapter")


# --------------------------------------------------------------------------------------------------------- store


def test_garbage_collection_keeps_what_studies_stand_on(finished: Path, study_folder: Path) -> None:
    shutil.copytree(finished / ".harness", study_folder / ".harness")
    store = Store(study_folder / ".harness")
    everything = {a.record.key for a in store.artifacts()}
    (store.root / "work" / "0123456789abcdef" / "left-behind").mkdir(parents=True)
    dry = harness("store", "gc", "--dry-run", "--json", cwd=study_folder).json
    assert not dry["removed"]
    assert "work/0123456789abcdef" in dry["folders"]
    assert (store.root / "work" / "0123456789abcdef").exists()
    harness("store", "gc", cwd=study_folder)
    assert {a.record.key for a in store.artifacts()} == everything
    assert not (store.root / "work" / "0123456789abcdef").exists()
    for artifact in store.artifacts("study"):
        shutil.rmtree(artifact.folder)
    harness("store", "gc", cwd=study_folder)
    assert {a.record.kind for a in store.artifacts()} <= {"model"}


def test_mlflow_shows_the_study(finished: Path) -> None:
    again = harness("sync", "study.yaml", "--json", cwd=finished)
    assert again.code == 0, again.err
    assert again.json["created"] == 0
    assert again.json["unchanged"] == 1 + 6 + RUNS + 1  # the study, its variants, their runs, the base model


def test_a_study_written_in_python(finished: Path) -> None:
    (finished / "study.py").write_text(
        "from pathlib import Path\nimport yaml\nfrom harness.spec import Study\n\n\n"
        "def study():\n    return Study.model_validate(yaml.safe_load(Path('study.yaml').read_text()))\n"
    )
    plan = harness("plan", "study.py", "--json", cwd=finished).json
    assert {run["state"] for run in plan["runs"]} == {"done"}  # the same study: the same keys


def test_store_ls(finished: Path) -> None:
    listed = harness("store", "ls", "--json", cwd=finished).json
    assert {row["kind"] for row in listed} == {
        "source",
        "suite",
        "pool",
        "variant",
        "tokens",
        "adapter",
        "result",
        "study",
    }
    assert all(row["bytes"] > 0 and row["created"] for row in listed if row["kind"] != "study")
    record = json.loads(next((finished / ".harness" / "study").glob("*/record.json")).read_text())
    assert record["data"]["rule"] == {
        "metric": "sums/exact_match", "smallest_effect": 0.05, "alpha": 0.05, "noise": "balanced",
    }  # fmt: skip
