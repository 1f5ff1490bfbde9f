"""Maintenance of a store: finds damaged artifacts, the studies that use an artifact, and unused artifacts."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.store.artifact import Artifact
from harness.store.integrity import problems
from harness.store.local import LOCKS, WORK, Store


@dataclass(frozen=True)
class Problem:
    """One problem that ``verify`` found.

    Attributes:
        artifact: ``<kind>/<folder>``, or the path of something that is no artifact.
        text: What is wrong with it.
    """

    artifact: str
    text: str


def verify(store: Store, on_progress: Callable[[int, int], None] | None = None) -> list[Problem]:
    """Compare every file of every artifact with its record, and every record with its seal, key and place.

    Finds missing, truncated and changed files, and files that do not belong there.

    Args:
        on_progress: Called with the number of bytes read and of all bytes.
    """
    found = []
    places = store.places()
    done, total = 0, sum(places.values())
    for folder, bytes_ in places.items():
        with store.whole(folder) as whole:
            found += [Problem(f"{folder.parent.name}/{folder.name}", text) for text in problems(whole)]
        done += bytes_
        if on_progress is not None:
            on_progress(done, total)
    return found


def uses(store: Store, damaged: list[Path] | None = None) -> dict[str, set[str]]:
    """Return key -> names of the studies that use it; unused keys are left out.

    The keys of runs, whose failures and checkpoints are in ``work``, are included.

    Args:
        damaged: List to which folders with a damaged record are added; without it they are an error.

    Raises:
        RequestError: A record is damaged, so its references are not known, and ``damaged`` is None.
    """
    found: dict[str, set[str]] = {}
    for study in store.artifacts("study", damaged):
        runs = (key for role, key in study.record.inputs.items() if role.startswith("runs/"))
        for key in (study.record.key, *study.record.data.get("references", []), *runs):
            found.setdefault(key, set()).add(study.record.name)
    # A result's key depends on the adapter's content: the study's record could not list it before training.
    studies: dict[tuple[str, str], set[str]] = {}
    for kind in ("adapter", "suite"):
        for one in store.artifacts(kind, damaged):
            studies.setdefault((kind, one.record.digest), set()).update(found.get(one.record.key, ()))
    for result in store.artifacts("result", damaged):
        of_each = [studies.get((role, result.record.inputs.get(role, "")), set()) for role in ("adapter", "suite")]
        if of_both := set.intersection(*of_each):
            found.setdefault(result.record.key, set()).update(of_both)
    return found


def garbage(store: Store, young: list[Artifact] | None = None) -> dict[Path, int]:
    """Return folder -> bytes of artifacts that no study uses, and of attempts whose process has ended.

    Prepared models are kept. So are failures and checkpoints of a study's runs, and the work of other machines: this
    machine cannot know whether their processes still run.

    Args:
        young: List to which unused artifacts are added that are kept because they were made recently.

    Raises:
        RequestError: A record is damaged, so its references are not known.
    """
    used = uses(store)
    unused = [one for one in store.artifacts() if one.record.key not in used and one.record.kind != "model"]
    places = store.places()
    found = {}
    for one in unused:
        if store.settled(one.record):
            found[one.folder] = places.get(one.folder, 0)
        elif young is not None:
            young.append(one)
    return found | store.remains(set(used))


def at_work(store: Store) -> bool:
    """Return whether a run is at work in the store: whether any process holds a lock."""
    for path in (store.root / WORK / LOCKS).glob("*.lock"):
        with path.open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:
                return False  # a file system without locks: none was taken
    return False
