"""``harness doctor``: what it finds, and what it says to change."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.cli import doctor
from tests.command import ROOT

NAMES = {"python", "torch", "mlflow", "memory", "disk", "slots", "device", "store", "file system", "clock", "model"}


def test_every_check_is_there_and_counts(cli: Any) -> None:
    checked = cli("doctor", "--json")
    checks = checked.json["checks"]
    assert checked.json["ok"] == all(check["ok"] for check in checks)
    assert checked.code == (0 if checked.json["ok"] else 1)
    names = [check["check"] for check in checks]
    assert set(names) >= NAMES
    assert len(set(names)) == len(names)
    assert all(check["text"] for check in checks)
    assert all((check["change"] is None) == check["ok"] for check in checks)
    table = cli("doctor")
    assert table.code == checked.code
    for check in checks:
        if not check["ok"] or check["check"] in NAMES - {"mlflow", "torch"}:
            assert check["check"] in table.out
    assert "torch 2." in table.out


def test_versions_are_held_against_what_the_project_asks_for(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked, extras = doctor.declared()
    assert asked == project["dependencies"]
    assert set(doctor.EXTRAS) <= set(extras)
    monkeypatch.setattr(doctor, "declared", lambda: (["polars>=999", "no-such-package>=1", "rich"], {}))
    checked = cli("doctor", "--json")
    assert checked.code == 1
    found = {check["check"]: check for check in checked.json["checks"]}
    assert not found["polars"]["ok"]
    assert found["polars"]["text"].endswith("but >=999 is needed")
    assert found["polars"]["change"].endswith("-m pip install 'polars>=999'")
    assert "not installed" in found["no-such-package"]["text"]
    assert found["rich"]["ok"]
    told = cli("doctor").out
    assert "Change polars: " in told
    assert "2 things to change." in told or "3 things to change." in told


def test_optional_parts_that_are_missing_must_not_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"quality": ("no-such-package", "nothing")})
    monkeypatch.setattr(doctor, "declared", lambda: ([], {"quality": ["no-such-package>=2"]}))
    (check,) = doctor._extras()
    assert check.ok
    assert check.text.endswith("-m pip install 'no-such-package>=2'")
    monkeypatch.setattr(doctor, "EXTRAS", {"quality": ("rich", "nothing")})
    monkeypatch.setattr(doctor, "declared", lambda: ([], {"quality": ["rich>=999"]}))
    (check,) = doctor._extras()  # there, and of no use
    assert check.change.endswith("-m pip install 'rich>=999'")


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /data nfs4 rw 0 0
tmpfs /data/fast tmpfs rw 0 0
bucket /my\\040bucket fuse.s3fs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/home/me", "ext4"), ("/data", "nfs4"), ("/data/x/y", "nfs4"), ("/data/fast/x", "tmpfs"), ("/database", "ext4"),
     ("/my bucket/store", "fuse.s3fs")],
)  # fmt: skip
def test_the_file_system_of_a_folder(tmp_path: Path, folder: str, kind: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert doctor.filesystem(Path(folder), tmp_path / "mounts") == kind
    assert doctor.filesystem(Path(folder), tmp_path / "absent") == ""


def test_network_file_systems_are_told_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "MLFLOW_TRACKING_URI=sqlite:///" in doctor._filesystem("nfs4").change
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert doctor._filesystem("nfs4").ok
    assert "another" not in doctor._filesystem("ext4").text
    assert "on a disk" in doctor._filesystem("fuse.s3fs").change
    assert "gone after a restart" in doctor._filesystem("tmpfs").text


def test_a_store_that_cannot_be_written(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    assert cli("doctor", "--json", "--store", tmp_path / "there").json is not None
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    checked = cli("doctor", "--json", "--store", tmp_path / "there")
    store = next(check for check in checked.json["checks"] if check["check"] == "store")
    assert checked.code == 1
    assert "Permission denied" in store["text"]
    assert "--store" in store["change"]


@pytest.mark.parametrize(
    ("free", "ok", "said"), [(30.0, True, ""), (4.0, False, "--workers 1"), (1.0, False, "killed")]
)
def test_memory_that_others_hold(monkeypatch: pytest.MonkeyPatch, free: float, ok: bool, said: str) -> None:
    from harness.engines.slots import Slots

    monkeypatch.setattr(doctor, "NEEDED_GIB", 1)
    monkeypatch.setattr(doctor, "_available", lambda: free)
    check = doctor._memory(Slots(2, 1, "cpu"))
    assert check.ok == ok
    assert said in check.change


def test_a_clock_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.store import Store

    def clock() -> doctor.Check:
        return next(check for check in doctor._store(Store(tmp_path)) if check.name == "clock")

    assert clock().ok
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert "set the clock" in clock().change


@pytest.mark.acceptance
@pytest.mark.slow
def test_doctor_makes_the_embedded_model_ready(cli: Any, smollm2: Path) -> None:
    checked = cli("doctor", "--json", "--prepare", "--store", smollm2.parent.parent)
    model = next(check for check in checked.json["checks"] if check["check"] == "model")
    assert model["ok"]
    assert str(smollm2) in model["text"]
