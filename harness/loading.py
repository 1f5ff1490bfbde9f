"""From a study file (YAML, or Python with a pure ``study()``) to a ``Study``; errors name file, line and field."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from harness import designs, spec
from harness.errors import RequestError, did_you_mean
from harness.spec import DESIGNS, OPERATIONS, Decide, Decontaminate, Lora, Study

Place = tuple[str | int, ...]
Lines = dict[Place, tuple[Path, int]]

# How pydantic's kinds of error are put to people: what was expected.
EXPECTED = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "too_short": "at least one entry",
}


@dataclass
class Loaded:
    """A study with the arms of its designs, the folder that each part's relative paths start from, and where each
    field is written (an arm of a design: where the design is).
    """

    study: Study
    file: Path
    source_folders: dict[str, Path] = field(default_factory=dict)
    suite_folder: Path = Path()
    model_folder: Path = Path()
    lines: Lines = field(default_factory=dict)

    def placed(self, message: str) -> str:
        """Put file and line before a message that starts with a field of the study (``sources.sums.task: ...``).

        Messages about a suite on its own (``suite sums: tasks.a.task: ...``) name the field of the study instead.
        Messages that start with anything else, such as a data file and its line, are returned as they are.
        """
        message = _one_line(message)
        alone = f"suite {self.study.suite.suite}: tasks."
        if message.startswith(alone):
            message = "suite.tasks." + message.removeprefix(alone)
        found = _mentioned(message, self.lines)
        if found is not None:
            file, line = self.lines[found]
            return f"{file}:{line}: {message}"
        named = re.match(r"\w+(?=[.:\[ ])", message)
        return f"{self.file}: {message}" if named and named.group() in Study.model_fields else message


@dataclass
class _Document:
    """Parsed YAML with the file and line of every value, across the files it refers to."""

    value: Any
    lines: Lines


def load_study(path: Path) -> Loaded:
    """Read a study; its designs are expanded to arms.

    Args:
        path: ``.yaml``/``.yml``, or ``.py`` with a function ``study()`` that returns a ``Study``. Running a Python
            study runs its code: it is trusted, as any program of the user's is.

    Raises:
        RequestError: With file, line, field and the nearest valid name.
    """
    try:
        return _expanded(_load(path))
    except RequestError as error:
        raise RequestError(_one_line(str(error))) from error


def _one_line(message: str) -> str:
    """Escape line ends and control characters: what a file says may neither split a message nor steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)


def _load(path: Path) -> Loaded:
    if path.is_dir():
        raise RequestError(f"{path}: a folder, expected a study file (.yaml, or .py with a function study())")
    if not _is_file(path):
        near = did_you_mean(path.name, _siblings(path, ".yaml", ".yml", ".py"))
        raise RequestError(f"{path}: no such study file.{near}")
    if path.suffix == ".py":
        return _python_study(path)
    if path.suffix not in (".yaml", ".yml"):
        raise RequestError(f"{path}: a study is a .yaml file, or a .py file with a function study()")
    document = _parse(path)
    if not isinstance(document.value, dict):
        raise RequestError(f"{path}:{document.lines[()][1]}: expected a mapping that starts with `study: <name>`")
    folder = path.resolve().parent
    folders = {
        "recipe": _reference(document, ("recipe",), folder),
        "suite": _reference(document, ("suite",), folder),
    }
    sources = document.value.get("sources")
    source_folders = {
        str(name): _reference(document, ("sources", name), folder)
        for name in (sources if isinstance(sources, dict) else {})
    }
    study = _validate(document)
    return Loaded(study, path, source_folders, folders["suite"], folder, document.lines)


def _expanded(loaded: Loaded) -> Loaded:
    """Add the arms of the study's designs, each placed where its design is written."""
    for place, where in list(loaded.lines.items()):
        # `size_ladder: {rows: ...}` is short for `{design: size_ladder, rows: ...}`: the field is designs[0].rows.
        if place[:1] == ("designs",) and len(place) > 3 and place[2] in DESIGNS:
            loaded.lines.setdefault((*place[:2], *place[3:]), where)
    try:
        loaded.study = designs.expand(loaded.study)
    except RequestError as error:
        raise RequestError(loaded.placed(str(error))) from error
    for index in range(len(loaded.study.designs) if loaded.lines else 0):
        for name in designs.arms(loaded.study, index):
            loaded.lines.setdefault(("arms", name), loaded.lines["designs", index])
    return loaded


def _python_study(path: Path) -> Loaded:
    loader = importlib.util.spec_from_file_location(f"harness_study_{path.stem}", path)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    # Byte code is not kept: it litters the user's folder, and a file edited twice within a second would be read as old.
    writes_no_code, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.loader.exec_module(module)
        if not callable(getattr(module, "study", None)):
            raise RequestError(f"{path}: expected a function study() that returns a harness.spec.Study")
        study = module.study()
    except RequestError:
        raise
    except ValidationError as error:
        # A part that is wrong is refused where it is made, before there is a study to name its field.
        model: type[BaseModel] = getattr(spec, error.title, Study)
        owner = "" if model is Study else f"{error.title}: "
        raise RequestError(f"{_python_line(path, error)}: {owner}{_sentence(model, error)[1]}") from error
    except Exception as error:  # the user's own code may raise anything; it is reported, and --debug shows it whole
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise RequestError(f"{_python_line(path, error)}: {type(error).__name__}: {reason}") from error
    finally:
        sys.dont_write_bytecode = writes_no_code
    if not isinstance(study, Study):
        raise RequestError(f"{path}: study() returned {type(study).__name__}, expected a harness.spec.Study")
    folder = path.resolve().parent
    return Loaded(study, path, dict.fromkeys(study.sources, folder), folder, folder)


def _python_line(path: Path, error: Exception) -> str:
    """Return ``file:line`` of the study's line that an error came from."""
    own = str(path.absolute())
    if isinstance(error, SyntaxError) and error.filename == own:
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f"{path}:{lines[-1]}" if lines else str(path)


# ---------------------------------------------------------------------------------------------------------- YAML


def _parse(path: Path) -> _Document:
    lines: Lines = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise RequestError(f"{path}: the file is empty")
        return _Document(_construct(yaml.SafeLoader(""), node, (), path, lines), lines)
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


def _construct(loader: Any, node: Any, place: Place, path: Path, lines: Lines) -> Any:
    lines[place] = (path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(loader, key_node, path)
            if not isinstance(key, str | int | float | bool):
                raise RequestError(f"{path}:{key_node.start_mark.line + 1}: a name was expected, not {key!r}")
            if str(key) in result:
                raise RequestError(f'{path}:{key_node.start_mark.line + 1}: "{key}" is given twice')
            result[str(key)] = _construct(loader, value_node, (*place, str(key)), path, lines)
            lines[(*place, str(key))] = (path, key_node.start_mark.line + 1)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, child, (*place, i), path, lines) for i, child in enumerate(node.value)]
    return _scalar(loader, node, path)


def _scalar(loader: Any, node: Any, path: Path) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # 2026-13-45 looks like a date and is none
        raise RequestError(f"{path}:{node.start_mark.line + 1}: {node.value[:40]!r} is no value ({error})") from error


def _reference(document: _Document, place: Place, folder: Path) -> Path:
    """Replace a file name by the mapping in that file; return the folder its relative paths start from."""
    parent = document.value
    for part in place[:-1]:
        parent = parent.get(part) if isinstance(parent, dict) else None
    if not isinstance(parent, dict) or not isinstance(parent.get(place[-1]), str):
        return folder
    name: str = parent[place[-1]]
    target = folder / name
    if not _is_file(target):
        file, line = document.lines[place]
        near = did_you_mean(target.name, {*_siblings(target, ".yaml", ".yml")} - {file.name})
        raise RequestError(f"{file}:{line}: {_dotted(place)}: no such file: {name}.{near}")
    target = target.resolve()
    inner = _parse(_shown(target))
    parent[place[-1]] = inner.value
    for inner_place, where in inner.lines.items():
        document.lines[(*place, *inner_place)] = where
    return target.parent


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _siblings(path: Path, *suffixes: str) -> list[str]:
    try:
        return [p.name for p in path.parent.iterdir() if p.suffix in suffixes]
    except (OSError, ValueError):
        return []


# -------------------------------------------------------------------------------------------------------- errors


def _validate(document: _Document) -> Study:
    try:
        return Study.model_validate(document.value)
    except ValidationError as error:
        place, text = _sentence(Study, error, document.value)
        place = place or _mentioned(text, document.lines) or ()
        while place not in document.lines:
            place = place[:-1]
        file, line = document.lines[place]
        raise RequestError(f"{file}:{line}: {text}") from error


def _mentioned(message: str, lines: Lines) -> Place | None:
    """Return the deepest field that a message starts with (a name may hold dots, so the message is not parsed)."""
    fields = {_dotted(place): place for place in lines if place}
    starts = [text for text in fields if message.startswith(text) and message[len(text) : len(text) + 1] in ":.[ "]
    return fields[max(starts, key=len)] if starts else None


def _shown(file: Path) -> Path:
    """Show a file as the user would type it: relative to where they are, when that is possible."""
    try:
        return file.relative_to(Path.cwd())
    except ValueError:
        return file


def _sentence(model: type[BaseModel], error: ValidationError, value: Any = None) -> tuple[Place, str]:
    """Turn the first problem of a validation into (place, sentence).

    Args:
        model: What was validated.
        error: Its problems.
        value: What it was made from, when that came from a file: decides which parts of a location are fields.
    """
    problems = [(_place(problem, value), problem) for problem in error.errors()]
    # A misspelt field also makes the right one "missing": report the misspelling, it explains both.
    place, first = next((p for p in problems if p[1]["type"] == "extra_forbidden"), problems[0])
    # Where a field may be several things, each was tried: the one that went deepest is what was meant.
    same = [p for p in problems if p[0][: len(place)] == place]
    place, first = max(same, key=lambda p: len(p[0])) if first["type"] != "extra_forbidden" else (place, first)
    dotted = _dotted(place)
    kind = first["type"]
    if kind == "extra_forbidden":
        owner = _model_at(model, first["loc"][:-1])
        names = owner.model_fields if owner else {}
        of = f" of {_noun(owner)}" if owner else ""
        return place, f"{dotted} is not a field{of}.{did_you_mean(str(place[-1]), names)}"
    if kind == "missing":
        return place[:-1], f"{dotted} is missing"
    if kind == "union_tag_invalid":
        name = str(first["ctx"]["tag"])
        what, kinds = ("design", DESIGNS) if _is_design(place) else ("operation", OPERATIONS)
        return place, f'{dotted}: no {what} is named "{name}".{did_you_mean(name, kinds)}'
    if kind == "union_tag_not_found" or (kind == "model_attributes_type" and {"operations", "designs"} & set(place)):
        example = "operation such as `verify` or `filter: {max_words: 400}`"
        if _is_design(place):
            example = "design such as `leave_one_out` or `size_ladder: {fractions: [0.25, 0.5]}`"
        return place, f"{dotted}: expected one {example}"
    given = first.get("input")
    prefix = f"{dotted}: " if dotted else ""
    if kind in ("value_error", "assertion_error"):
        return place, prefix + str(first["msg"]).removeprefix("Value error, ")
    shown = f" (it is {_written(given)})" if isinstance(given, str | int | float | bool | None) else ""
    expected = list(dict.fromkeys(_expected(p) for where, p in problems if where == place))
    if "a number" in expected and "a whole number" in expected:
        expected.remove("a whole number")
    if len(expected) == 1 and kind == "literal_error" and isinstance(given, str):
        values = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        return place, f'{prefix}"{given}" is not one of its values.{did_you_mean(given, values)}'
    if all(expected):
        return place, f"{prefix}expected {' or '.join(map(str, expected))}{shown}"
    return place, f"{prefix}{str(first['msg']).replace('Input should', 'must')}{shown}"


def _is_design(place: Place) -> bool:
    """Tell whether a place is one of the study's designs, rather than something inside one."""
    return place[:1] == ("designs",) and len(place) == 2


def _expected(problem: Any) -> str | None:
    return str(problem["ctx"]["expected"]) if problem["type"] == "literal_error" else EXPECTED.get(problem["type"])


def _written(value: Any) -> str:
    """Return a value the way it is written in YAML."""
    if value is None:
        return "empty"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _place(problem: Any, value: Any) -> Place:
    """Return where a problem is, without what pydantic puts into a location for the kinds of a union."""
    location: Place = problem["loc"]
    if value is None:
        return tuple(part for part in location if part not in OPERATIONS and part not in DESIGNS)
    place: list[str | int] = []
    for index, part in enumerate(location):
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if inside:
            value = value[part]
        if inside or (problem["type"] == "missing" and index == len(location) - 1):
            place.append(part)
    return tuple(place)


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _noun(owner: type[BaseModel]) -> str:
    name = owner.__name__.lower()
    if owner in OPERATIONS.values():
        return f"the operation {name}"
    if owner in DESIGNS.values():
        return f"the design {owner.model_fields['design'].default}"
    if owner in (Lora, Decide, Decontaminate):
        return name
    return f"a {name}"


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Follow a location of an error through the models' fields; None where it leaves them."""
    current: type[BaseModel] | None = model
    kinds: Mapping[str, type[BaseModel]] = {**OPERATIONS, **DESIGNS}
    for part in place:
        if part in kinds:
            current = kinds[str(part)]
        elif current is not None and part in current.model_fields:
            current = _inner_model(current.model_fields[str(part)].annotation) or current
    return current


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        inner = _inner_model(argument)
        if inner is not None:
            return inner
    return None
