"""Opens files unpacked, up to a limit; format and packing are read from a file's name."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from harness.errors import RequestError
from harness.escaping import visible

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
PACKINGS = (".gz", ".zst")
# A file of a few kilobytes can unpack to terabytes, while rows of text unpack to 3 to 20 times the size of their file.
# The environment variable LIMIT sets another limit.
MOST_TIMES, ALWAYS_ALLOWED = 200, 1 << 30
LIMIT = "HARNESS_MAX_UNPACKED_GIB"
PARQUET = b"PAR1"
OTHER_DATA = {
    b"\x1f\x8b": "gzip data (call it .gz)",
    b"\x28\xb5\x2f\xfd": "zstd data (call it .zst)",
    PARQUET: "a parquet file (call it .parquet)",
    b"PK\x03\x04": "a zip archive (unpack it)",
    b"BZh91AY&SY": "bzip2 data (unpack it)",
    b"\xfd7zXZ": "xz data (unpack it)",
    b"\xff\xfe": "UTF-16 text (save it as UTF-8)",
    b"\xfe\xff": "UTF-16 text (save it as UTF-8)",
}


def format_of(path: Path) -> str:
    """Return a file's format, such as ``.jsonl`` for ``rows.jsonl.gz``."""
    return Path(path.name.lower().removesuffix(packing_of(path))).suffix


def packing_of(path: Path) -> str:
    """Return ``.gz``, ``.zst`` or an empty string."""
    suffix = path.suffix.lower()
    return suffix if suffix in PACKINGS else ""


def printable(text: str) -> str:
    """Return a name as one line of UTF-8, with invisible and invalid characters spelled out."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def said(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type."""
    lines = str(error).strip().splitlines()
    return printable(lines[0]) if lines else type(error).__name__


def most_unpacked(path: Path) -> int:
    """Return the number of bytes that a file may unpack to.

    Raises:
        RequestError: The environment variable that sets it is no number above 0.
    """
    given = os.environ.get(LIMIT, "")
    try:
        limit = float(given) if given else max(ALWAYS_ALLOWED, MOST_TIMES * path.stat().st_size) / (1 << 30)
        most = int(limit * (1 << 30))
    except (ValueError, OverflowError):
        most = 0
    if most <= 0:
        raise RequestError(f"{LIMIT}: expected a number of GiB above 0 (it is {given!r})")
    return most


def too_much(shown: str, limit: int) -> RequestError:
    """Return the error for a file that unpacks to more than its limit."""
    return RequestError(
        f"{shown}: unpacks to more than {limit >> 20:,} MiB, far more than rows of text do; if that is right, set "
        f"{LIMIT} to what it needs"
    )


@contextlib.contextmanager
def opened(path: Path, shown: str) -> Iterator[io.BufferedReader]:
    """Open a file, unpacked.

    Args:
        path: The file; its suffix names the packing.
        shown: What messages call the file.

    Raises:
        RequestError: The content does not match the file's name, or unpacks to more than the limit.
        OSError: The file cannot be opened or, when it is read, cannot be unpacked.
    """
    with path.open("rb") as raw:
        packing, stream = packing_of(path), raw
        if packing:
            if not raw.peek(1):
                raise RequestError(f"{shown}: the file is empty, without even the header of a {packing} file")
            stream = io.BufferedReader(_Unpacked(raw, packing, most_unpacked(path), shown), 1 << 20)
        start = stream.peek(16)[:16]
        for magic, what in OTHER_DATA.items():
            if start.startswith(magic) and (magic, format_of(path)) != (PARQUET, ".parquet"):
                raise RequestError(f"{shown}: holds {what}, not {format_of(path)}")
        yield stream


def check(path: Path, shown: str) -> None:
    """Read a file that another library will unpack, to find what ``opened`` refuses.

    Raises:
        RequestError: As ``opened`` does, or if the file cannot be unpacked.
    """
    try:
        with opened(path, shown) as stream:
            if packing_of(path):
                while stream.read(1 << 20):
                    pass
            elif stream.peek(4)[:4] == PARQUET:
                _check_parquet(path, shown)
    except OSError as error:
        raise RequestError(f"{shown}: cannot be unpacked ({said(error)})") from error


def _check_parquet(path: Path, shown: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    limit = left = most_unpacked(path)
    try:
        for batch in pq.ParquetFile(path).iter_batches(1024):
            left -= batch.nbytes
            if left < 0:
                raise too_much(shown, limit)
    except (pa.ArrowException, ValueError) as error:
        raise RequestError(f"{shown}: not a parquet file that can be read ({said(error)})") from error


class _Unpacked(io.RawIOBase):
    """The content of a packed file; errors of the unpacking libraries are raised as ``OSError``."""

    def __init__(self, raw: IO[bytes], packing: str, limit: int, shown: str) -> None:
        import pyarrow as pa

        # pyarrow for zstd: Python has none before 3.14, and unlike zstandard's reader pyarrow's detects truncation.
        self._stream: Any = gzip.GzipFile(fileobj=raw) if packing == ".gz" else pa.CompressedInputStream(raw, "zstd")
        self._left, self._limit, self._shown = limit, limit, shown
        self._broken = (EOFError, zlib.error, pa.ArrowException)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read1(len(buffer))  # read1 returns the bytes before any damage
        except self._broken as error:
            raise OSError(said(error)) from error
        self._left -= len(data)
        if self._left < 0:
            raise too_much(self._shown, self._limit)
        buffer[: len(data)] = data
        return len(data)
