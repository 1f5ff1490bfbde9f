"""Looking after a store: what is damaged, which studies stand on what, and what nobody needs any more."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.seals import KEYED, problems
from harness.store import ATTEMPT, LOCKS, WORK, Store, folders_in, is_alive


@dataclass(frozen=True)
class Problem:
    """One thing ``verify`` found wrong.

    Attributes:
        artifact: ``<kind>/<folder>``, or what lies beside artifacts.
        text: What is wrong with it.
    """

    artifact: str
    text: str


def verify(store: Store, on_progress: Callable[[int, int], None] | None = None) -> list[Problem]:
    """Compare every file of every artifact with its record, and every record with its seal, key and place.

    Finds whatever is missing, truncated or changed, and what does not belong there.

    Args:
        on_progress: Called with bytes read and bytes in all.
    """
    found = []
    kinds = [parent for parent in folders_in(store.root) if parent.name != WORK and _holds_artifacts(parent)]
    folders = sorted(path for parent in kinds for path in parent.iterdir())
    sizes = [size(path) for path in folders]
    done, total = 0, sum(sizes)
    for folder, bytes_ in zip(folders, sizes, strict=True):
        found += [Problem(f"{folder.parent.name}/{folder.name}", text) for text in problems(folder)]
        done += bytes_
        if on_progress is not None:
            on_progress(done, total)
    return found


def undamaged(path: Path) -> Path:
    """Return a file of an artifact, having compared it with the artifact's record.

    Raises:
        StepError: It is missing, or is not what was published.
        RequestError: The artifact is gone, or its record is damaged.
    """
    folder = path.parent
    return Store(folder.parent.parent).at(folder).checked(path.name) / path.name


def uses(store: Store, damaged: list[Path] | None = None) -> dict[str, set[str]]:
    """Return key -> names of the studies that stand on it; what none stands on is left out.

    A run, whose failures and checkpoints are in ``work``, has a key too.

    Args:
        damaged: Takes the folders whose record is damaged.

    Raises:
        RequestError: A record is damaged, so that what it refers to is not known; ``damaged`` was not given.
    """
    found: dict[str, set[str]] = {}
    for study in store.artifacts("study", damaged):
        runs = (key for role, key in study.record.inputs.items() if role.startswith("runs/"))
        for key in (study.record.key, *study.record.data.get("references", []), *runs):
            found.setdefault(key, set()).add(study.record.name)
    # A result's key depends on the adapter's contents: the study could not list it before it was trained.
    studies: dict[tuple[str, str], set[str]] = {}
    for kind in ("adapter", "suite"):
        for one in store.artifacts(kind, damaged):
            studies.setdefault((kind, one.record.digest), set()).update(found.get(one.record.key, ()))
    for result in store.artifacts("result", damaged):
        of_each = [studies.get((role, result.record.inputs.get(role, "")), set()) for role in ("adapter", "suite")]
        if of_both := set.intersection(*of_each):
            found.setdefault(result.record.key, set()).update(of_both)
    return found


def garbage(store: Store) -> list[Path]:
    """Return the folders that no study stands on, and what is left of attempts whose process is gone.

    Prepared models stay. So do failures and checkpoints of a study's runs, and work of other machines: whether
    that goes on cannot be told from here.

    Raises:
        RequestError: A record is damaged, so that what it refers to is not known.
    """
    used = uses(store)
    folders = [a.folder for a in store.artifacts() if a.record.key not in used and a.record.kind != "model"]
    for work in sorted(folders_in(store.root / WORK)):
        attempts = [path for path in folders_in(work) if ATTEMPT.match(path.name)]
        gone = [path for path in attempts if not is_alive(path.name)]
        if work.name != LOCKS:
            folders += gone if work.name in used or len(gone) < len(attempts) else [work]
    return folders


def at_work(store: Store) -> bool:
    """Tell whether a run is at work in the store: whether anybody holds a lock."""
    for path in (store.root / WORK / LOCKS).glob("*.lock"):
        with path.open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:
                return False  # a file system without locks: none was taken
    return False


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    return sum(p.lstat().st_size for p in (path, *path.rglob("*")) if p.is_symlink() or not p.is_dir())


def _holds_artifacts(parent: Path) -> bool:
    """Tell the folder of a kind from others in the store, such as logs."""
    return any(KEYED.match(path.name) for path in folders_in(parent))
