"""Errors for users: one sentence with the place, the cause and the nearest valid name."""

from __future__ import annotations

import difflib
import errno
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class HarnessError(Exception):
    """Base of every error that is printed to the user as a sentence, without a traceback."""

    exit_code = 1


class RequestError(HarnessError):
    """The request is wrong (study, data, suite, command line): nothing was started. Exit code 2."""

    exit_code = 2


class StepError(HarnessError):
    """A step failed while running; everything finished before it is kept. Exit code 1."""


@dataclass(frozen=True)
class Asked:
    """Names of a function's parameters in messages: the same function serves Python and a command.

    Attributes:
        options: Parameter -> the command's option. Empty when Python calls: parameters then have their own names.
        nothing: Last sentence of a refusal when the command would have written files.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    nothing: str = ""

    def __call__(self, parameter: str, value: object = None) -> str:
        """Return a parameter, with its value if one is passed, as the caller writes it.

        >>> Asked()("method", "near"), Asked({"method": "--method"})("method", "near")
        ('method="near"', '--method near')
        """
        if value is None:
            return self.options.get(parameter, parameter)
        return f"{self.options[parameter]} {value}" if self.options else f'{parameter}="{value}"'

    @property
    def ending(self) -> str:
        """The last sentence of a refusal, with a space before it; empty in Python."""
        return f" {self.nothing}." if self.nothing else ""


LEAST = 1 << 20  # bytes: a disk with less room is full
STORAGE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file grew larger than the system allows",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EIO: "the disk reports an input/output error",
}


def storage_problem(error: BaseException) -> str:
    """Return in words why a file could not be written or read; empty when the error is about something else.

    Libraries written in Rust and C++ give the system's reason only in their text, and torch gives none.
    """
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in text:
        return f"no folder for temporary files can be written ({_temporary()}: is it full, or read-only?)"
    if number is None:
        said = re.search(r"os error (\d+)", text)
        torch_could_not_write = "PytorchStreamWriter failed" in text or "inline_container" in text
        number = int(said[1]) if said else errno.ENOSPC if torch_could_not_write else None
    if number not in STORAGE:
        return ""
    place = getattr(error, "filename", None)
    if place is None and number in (errno.ENOSPC, errno.EDQUOT) and _is_full(_temporary()):
        place = f"{_temporary()} (temporary files; TMPDIR names another folder)"
    return STORAGE[number] + (f": {place}" if place else "")


def _temporary() -> str:
    """Return the folder for temporary files that the environment sets; ``tempfile`` would write to it to find out."""
    return next((os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)), "/tmp")


def _is_full(folder: str) -> bool:
    try:
        return shutil.disk_usage(folder).free < LEAST
    except OSError:
        return False


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``' Did you mean "x"?'`` for the closest valid name, else the list of valid names.

    Args:
        name: What the user wrote.
        valid: The names that would have been accepted.

    Returns:
        A sentence starting with a space, ready to append; empty when there are no valid names.
    """
    names = sorted(set(valid) - {name})
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f' Did you mean "{close[0]}"?'
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f" Valid here: {shown}."
