"""What the arguments of ``init`` stand for: files, folders, and datasets of the Hub, each a source with a name."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from harness.data import files, sources
from harness.errors import RequestError
from harness.spec import Source
from harness.spec.designs.base import SIZE
from harness.unpacking import FORMATS, PACKINGS

HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[\w.-]+)")
SPLIT = re.compile(r"(test|validation|valid|val|dev|eval)(?![a-z])", re.IGNORECASE)


def splits(given: Sequence[str], tested: str | None) -> tuple[list[tuple[str, tuple[str, ...]]], tuple[str, ...]]:
    """Return the files behind every argument, and those to test on: of a folder with both, the ones called test."""
    arguments: list[tuple[str, tuple[str, ...]]] = []
    tests: tuple[str, ...] = (tested,) if tested else ()
    for argument in given:
        folder = Path(argument)
        inside = files.inside(folder, f"{argument.rstrip('/')}/") if folder.is_dir() else []
        apart = [str(p) for p in inside if SPLIT.match(p.name)]
        if apart and len(apart) < len(inside) and not tests:
            first = SPLIT.match(Path(apart[-1]).name)
            tests = tuple(p for p in apart if first and Path(p).name.startswith(first[0]))
        train = tuple(str(p) for p in inside if str(p) not in apart)
        arguments.append((argument, train if apart and train else (argument,)))
    return arguments, tests


def named(arguments: Sequence[tuple[str, tuple[str, ...]]], base: Path) -> dict[str, Source]:
    """Return a source for every argument, named after its file or folder."""
    found: dict[str, Source] = {}
    for argument, paths in arguments:
        hub = HUB.fullmatch(argument)
        stem = Path(argument.rstrip("/")).name if not hub else hub["name"].split("/")[1]
        for suffix in (*PACKINGS, *FORMATS):
            stem = stem.removesuffix(suffix)
        name = re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-._")[:40] or "rows"
        name = f"{name}-rows" if name == SIZE else name
        number = sum(other == name or other.startswith(f"{name}-") for other in found)
        found[f"{name}-{number + 1}" if name in found else name] = source(argument, paths, base, name)
    return found


def source(argument: str, paths: tuple[str, ...], base: Path, name: str) -> Source:
    """Return the source that an argument stands for, its paths starting from the study's folder.

    Raises:
        RequestError: It names nothing, or a dataset of the Hub that cannot be had or could change.
    """
    hub = HUB.fullmatch(argument)
    if hub and not Path(argument).exists():
        switched_off = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "ON", "YES")
        if switched_off and not Path(hub["name"]).is_dir():
            raise RequestError(
                f"{argument}: a dataset of the Hub, which HF_HUB_OFFLINE switches off here; download it elsewhere and "
                "give its files"
            )
        made = Source(hub=hub["name"], revision=hub["revision"], operations=())
        sources.inputs(name, made, base)  # refuses a revision that can move
        return made
    for path in paths:
        try:
            files.find(name, path, Path.cwd())
        except RequestError as error:
            said = str(error).removeprefix(f"sources.{name}.path: ")
            if not os.path.lexists(path) and not glob.has_magic(path) and re.fullmatch(r"[\w.-]+/[\w.-]+", path):
                said += f" A dataset of the Hub is written {path}@<commit>."
            raise RequestError(said) from error
    shown = tuple(relative(path, base) for path in paths)
    return Source(path=shown if len(shown) > 1 else shown[0], operations=())


def relative(path: str, base: Path) -> str:
    """Return a path as the study writes it; one that the user gave in full stays."""
    return path if Path(path).is_absolute() else Path(os.path.relpath(path, base)).as_posix()
