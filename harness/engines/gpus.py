"""The GPUs that CUDA shows to a process here, found without torch: a driver never imports it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess

from harness.errors import RequestError

VISIBLE = "CUDA_VISIBLE_DEVICES"
ANSWER_SECONDS = 30.0  # a driver that hangs never answers
_UUID = re.compile(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)")


def gpus() -> list[str]:
    """Return the GPUs that workers can use: values of ``CUDA_VISIBLE_DEVICES``, each of which shows one.

    Where that variable is set, it names them, up to the first entry that is no GPU, as CUDA reads it (CUDA C++
    Programming Guide, environment variables). A card that is divided (MIG) counts by its parts.

    Raises:
        RequestError: ``nvidia-smi`` does not answer.
    """
    cards = listed()
    wanted = os.environ.get(VISIBLE)
    if wanted is None:
        return [part for parts in cards.values() for part in parts]
    known = [*cards, *(part for parts in cards.values() for part in parts)]
    found: list[str] = []
    for entry in (one.strip() for one in wanted.split(",")):
        numbered = entry.isdecimal() and int(entry) < len(cards)
        named = entry.startswith(("GPU-", "MIG-")) and any(one.startswith(entry) for one in known)
        if not (numbered or named):
            break
        found += [entry] if entry not in found else []
    return found


def listed() -> dict[str, list[str]]:
    """Return the id of each card that the driver lists -> the ids of its parts; its own where it is not divided.

    ``CUDA_VISIBLE_DEVICES`` does not count.

    Raises:
        RequestError: ``nvidia-smi`` does not answer.
    """
    if shutil.which("nvidia-smi") is None:
        return {}
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RequestError(
            f"nvidia-smi, which lists this machine's GPUs, does not answer ({type(error).__name__}); "
            "--device cpu goes on without them"
        ) from error
    cards: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        named = _UUID.search(line)
        if named and line.startswith("GPU "):
            cards[named[1]] = []
        elif named and cards:
            cards[next(reversed(cards))].append(named[1])
    return {card: parts or [card] for card, parts in cards.items()}


def cpu_only() -> str:
    """Return the version of the installed torch if it was built without CUDA, else nothing."""
    try:
        built = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
    return built if built.endswith("+cpu") else ""
