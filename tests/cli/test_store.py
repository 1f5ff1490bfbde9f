"""``harness store``: all damage to a finished store is found, and told by study; only what nobody needs is deleted."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.store import Store, maintenance
from tests.conftest import Ran

FLIPS = 500
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(cli: Any) -> Command:
    """Calls ``harness store ...``; returns exit code, output and error output."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        done = cli("store", *arguments)
        return done.code, done.out, done.err

    return call


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Store:
    """The store of a finished study, without training; a copy that may be damaged."""
    return Store(Path(shutil.copytree(finished / ".harness", tmp_path / "store")))


# ----------------------------------------------------------------------------------------------------------- verify


def damage(path: Path, how: random.Random) -> str:
    """Damage one file; return what was done to it."""
    raw = bytearray(path.read_bytes())
    what = how.choice(["flip"] * 6 + ["truncate", "grow", "delete", "add"])
    if what == "flip":
        raw[how.randrange(len(raw))] ^= how.randrange(1, 256)
        path.write_bytes(raw)
    elif what == "truncate":
        path.write_bytes(raw[: how.randrange(len(raw))])
    elif what == "grow":
        path.write_bytes(raw + b"\0")
    elif what == "delete":
        path.unlink()
    else:
        path.with_name("added").write_bytes(b"")
    return what


@pytest.mark.slow
def test_all_damage_to_a_finished_store_is_found(ran: Ran) -> None:
    """500 times: any byte of any file of any artifact, the record included; also cut, longer, gone and added files."""
    store = Store(ran.store)
    assert maintenance.verify(store) == []
    artifacts = store.artifacts()
    kinds = sorted({one.record.kind for one in artifacts})
    assert kinds == ["adapter", "pool", "result", "source", "study", "suite", "tokens", "variant"]
    how = random.Random(7)
    done: Counter[tuple[str, str]] = Counter()
    for _ in range(FLIPS):
        kind = how.choice(kinds)
        one = how.choice([a for a in artifacts if a.record.kind == kind])
        path = one.folder / how.choice([*one.record.files, "record.json"])
        kept = path.read_bytes()
        done[path.name, damage(path, how)] += 1
        found = maintenance.verify(store)
        assert {problem.artifact for problem in found} == {f"{kind}/{one.folder.name}"}, (path, done)
        path.write_bytes(kept)
        path.with_name("added").unlink(missing_ok=True)
    names = {name for name, _ in done}
    assert {"record.json", "adapter_model.safetensors", "tokens.arrow", "rows.parquet", "items.parquet"} <= names
    assert sum(count for (name, what), count in done.items() if (name, what) == ("record.json", "flip")) > 50
    assert maintenance.verify(store) == []


@pytest.mark.parametrize("kind", ["source", "pool", "suite", "variant", "tokens", "adapter", "result", "study"])
@pytest.mark.parametrize("what", ["file", "record", "no record"])
def test_the_studies_affected_are_named(store: Store, command: Command, kind: str, what: str) -> None:
    """Also where the record itself is damaged, and with it what it says of its place in a study."""
    others = store.artifacts(kind)
    one = next((a for a in others if "verified" in a.record.name), others[0])
    path = one.folder / "record.json"
    if what == "file" and one.record.files:
        path = one.folder / next(iter(one.record.files))
    path.write_bytes(path.read_bytes()[:-2] + b"?}")
    if what == "no record":
        (one.folder / "record.json").unlink()
    code, out, _ = command("verify", "--json", "--store", store.root)
    found = json.loads(out)
    assert code == 1
    assert [problem["artifact"] for problem in found["problems"]] == [f"{kind}/{one.folder.name}"]
    assert found["studies"] == ["tiny"]
    assert not found["ok"]
    code, out, _ = command("verify", "--store", store.root)
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith(f"{kind}/{one.folder.name}: ")
    said = "1 problem. Studies affected: tiny. Delete the folder or file named; `harness run` makes it again."
    assert lines[1] == said


def test_what_no_study_stands_on_is_said_so(store: Store, command: Command) -> None:
    (store.root / "source" / "notes.txt").write_text("mine")
    (store.root / "source" / "\x1b[31mred").mkdir()
    code, out, _ = command("verify", "--store", store.root)
    assert code == 1
    assert out.splitlines() == [
        "source/\\x1b[31mred: does not belong here",
        "source/notes.txt: does not belong here",
        "2 problems. No study uses them. Delete the folders and files named; `harness run` makes them again.",
    ]


def test_a_study_that_is_not_whole_is_told_and_is_no_damage(store: Store, command: Command) -> None:
    for kind in ("pool", "adapter"):
        shutil.rmtree(store.artifacts(kind)[0].folder)
    code, out, _ = command("verify", "--store", store.root)
    assert code == 0
    assert out.splitlines() == [
        "Everything is as it was written.",
        "tiny: 2 of its artifacts are missing (not run yet, or deleted); `harness run` makes them.",
    ]
    assert json.loads(command("verify", "--json", "--store", store.root)[1])["incomplete"] == {"tiny": 2}


# --------------------------------------------------------------------------------------------------------------- ls


def test_ls_shows_kind_name_size_age_and_studies(store: Store, command: Command) -> None:
    code, out, _ = command("ls", "--store", store.root)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["Kind", "Name", "Key", "Size", "Age", "Studies"]
    artifacts = store.artifacts()
    assert len(lines) == len(artifacts) + 3
    assert all(line.split()[-1] == "tiny" and " s " in line for line in lines[1:-2])
    assert lines[-1].startswith(f"{len(artifacts)} artifacts, ")
    assert "no study" not in lines[-1]
    shutil.rmtree(store.artifacts("study")[0].folder)
    assert (
        command("ls", "--store", store.root)[1]
        .splitlines()[-1]
        .endswith(f"; {len(artifacts) - 1} that no study uses (harness store gc)")
    )


def test_ls_filters_and_sorts(store: Store, command: Command) -> None:
    def rows(*options: str) -> list[dict[str, Any]]:
        code, out, err = command("ls", "--json", *options, "--store", store.root)
        assert code == 0, err
        return json.loads(out)

    everything = rows()
    assert len(everything) == len(store.artifacts())
    assert [row["kind"] for row in everything] == sorted(row["kind"] for row in everything)
    assert {row["kind"] for row in rows("--kind", "adapter")} == {"adapter"}
    sizes = [row["bytes"] for row in rows("--sort", "size")]
    assert sizes == sorted(sizes, reverse=True)
    assert [row["name"] for row in rows("--sort", "name")] == sorted(row["name"] for row in everything)
    ages = [row["age_seconds"] for row in rows("--sort", "age")]
    assert ages == sorted(ages, reverse=True)
    for option, word, said in (
        ("--kind", "adaptor", '--kind: the store has no "adaptor". Did you mean "adapter"?'),
        ("--sort", "sise", '--sort: "sise" is no order. Did you mean "size"?'),
    ):
        code, out, err = command("ls", option, word, "--store", store.root)
        assert (code, out, err) == (2, "", said + "\n")


def test_ls_goes_on_where_a_record_is_damaged(store: Store, command: Command) -> None:
    one = store.artifacts("adapter")[0]
    (one.folder / "record.json").write_text("{")
    code, out, err = command("ls", "--store", store.root)
    assert code == 0
    assert one.record.key not in out
    assert err == f"adapter/{one.folder.name}: its record is damaged (harness store verify)\n"


# --------------------------------------------------------------------------------------------------------------- gc


def test_gc_says_what_goes_and_how_much_it_frees(store: Store, command: Command) -> None:
    keep = store.artifacts("study")[0]
    code, out, _ = command("gc", "--dry-run", "--store", store.root)
    assert (code, out) == (0, "0 folders, 0 B would be removed\n")
    shutil.rmtree(keep.folder)
    before = {path: path.stat().st_size for path in store.root.rglob("*") if path.is_file()}
    code, out, _ = command("gc", "--dry-run", "--json", "--store", store.root)
    planned = json.loads(out)
    assert not planned["removed"]
    assert {path: path.stat().st_size for path in store.root.rglob("*") if path.is_file()} == before
    code, out, _ = command("gc", "--json", "--store", store.root)
    assert json.loads(out) == planned | {"removed": True}
    assert store.artifacts() == []
    left = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
    assert sum(before.values()) - left == planned["bytes"] > 10_000


def test_gc_waits_for_a_run_that_is_at_work(store: Store, command: Command) -> None:
    shutil.rmtree(store.artifacts("study")[0].folder)
    there = len(store.artifacts())
    with store.lock("0123456789abcdef"):
        code, out, err = command("gc", "--store", store.root)
        assert (code, out) == (2, "")
        assert err.startswith("a run is at work in ")
        assert len(store.artifacts()) == there
        assert command("gc", "--dry-run", "--store", store.root)[0] == 0
    assert command("gc", "--store", store.root)[0] == 0
    assert store.artifacts() == []


def test_gc_touches_nothing_that_a_link_leads_to(store: Store, command: Command, tmp_path: Path) -> None:
    shutil.rmtree(store.artifacts("study")[0].folder)
    one = store.artifacts("source")[0]
    one.folder.rename(tmp_path / "elsewhere")
    one.folder.symlink_to(tmp_path / "elsewhere")
    assert command("gc", "--store", store.root)[0] == 0
    assert not one.folder.is_symlink()
    assert (tmp_path / "elsewhere" / "record.json").is_file()


def test_gc_refuses_where_a_record_is_damaged(store: Store, command: Command) -> None:
    study = store.artifacts("study")[0]
    (study.folder / "record.json").write_text("{")
    code, out, err = command("gc", "--store", store.root)
    assert (code, out) == (2, "")
    assert "record.json is not readable; `harness store verify` lists what is affected" in err
    assert len(store.artifacts(damaged=[])) > 10
