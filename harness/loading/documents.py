"""Reads YAML as plain values, each with its file and line; a file can neither run code nor fill the memory.

A study may use mappings, lists, text and numbers. Tags, with which YAML makes objects, are refused, and so is a small
file that becomes millions of values by aliases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import RequestError

Place = tuple[str | int, ...]
Lines = dict[Place, tuple[Path, int]]

LARGEST = 4 << 20  # bytes of a file
MOST_VALUES = 100_000
YAML = "tag:yaml.org,2002:"
PLAIN = {YAML + kind for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")}


@dataclass
class Document:
    """Parsed YAML with the file and line of every value, across the files it refers to."""

    value: Any
    lines: Lines


def parse(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        RequestError: The file cannot be read, is not YAML, gives a name twice, or uses a part of YAML that is refused.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise RequestError(f"{path}: {path.stat().st_size >> 20} MiB; a study has at most {LARGEST >> 20}")
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
        if node is None:
            raise RequestError(f"{path}: the file is empty")
        reader = _Reader(path)
        return Document(reader.read(node, ()), reader.lines)
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RequestError(f"{place}: not YAML ({error.problem})") from error
    except yaml.YAMLError as error:
        raise RequestError(f"{path}: not YAML ({str(error).splitlines()[0]})") from error
    except RecursionError as error:
        raise RequestError(f"{path}: not a study: it is nested without end") from error


@dataclass
class _Reader:
    path: Path
    lines: Lines = field(default_factory=dict)
    values: int = 0
    construct: Callable[..., Any] = field(default_factory=lambda: yaml.SafeLoader("").construct_object)

    def read(self, node: Any, place: Place) -> Any:
        self.lines[place] = (self.path, node.start_mark.line + 1)
        self.values += 1
        if self.values > MOST_VALUES:
            raise self._refusal(node, f"more than {MOST_VALUES:,} values; aliases (*name) of aliases grow without end")
        if node.tag not in PLAIN:
            raise self._refusal(
                node, f"the tag {node.tag.replace(YAML, '!!')} is not used in studies; write plain text"
            )
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = self._name(key_node)
                if key in result:
                    raise self._refusal(key_node, f'"{key}" is given twice')
                result[key] = self.read(value_node, (*place, key))
                self.lines[(*place, key)] = (self.path, key_node.start_mark.line + 1)
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*place, i)) for i, child in enumerate(node.value)]
        return self._scalar(node)

    def _name(self, node: Any) -> str:
        if node.tag == YAML + "merge":
            raise self._refusal(node, "<< (merging) is not used in studies; write the fields out")
        key = self._scalar(node) if isinstance(node, yaml.ScalarNode) and node.tag in PLAIN else None
        if not isinstance(key, str | int | float | bool):
            raise self._refusal(node, "a name was expected")
        return str(key)

    def _scalar(self, node: Any) -> Any:
        try:
            value = self.construct(node)
        except ValueError as error:  # 2026-13-45 looks like a date and is none
            raise self._refusal(node, f"{node.value[:40]!r} is no value ({error})") from error
        if isinstance(value, str) and ("\0" in value or not _encodable(value)):
            raise self._refusal(node, f"{value[:40]!r} holds what is no character")
        return value

    def _refusal(self, node: Any, text: str) -> RequestError:
        return RequestError(f"{self.path}:{node.start_mark.line + 1}: {text}")


def _encodable(text: str) -> bool:
    """Return whether text can be stored as UTF-8; half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_file(path: Path) -> bool:
    """Return whether a path names a file; False as well for a path that is no valid name."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def siblings(path: Path, *suffixes: str) -> list[str]:
    """Return the names of the files in a path's folder that have one of the suffixes."""
    try:
        return [p.name for p in path.parent.iterdir() if p.suffix in suffixes]
    except (OSError, ValueError):
        return []
