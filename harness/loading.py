"""From a study file (YAML, or Python with a pure ``study()``) to a ``Study``; errors name file, line and field."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from harness.errors import RequestError, did_you_mean
from harness.spec import OPERATIONS, Recipe, Source, Study, Suite, Variant

Place = tuple[str | int, ...]


@dataclass
class Loaded:
    """A study with the folder that each part's relative paths start from."""

    study: Study
    file: Path
    source_folders: dict[str, Path] = field(default_factory=dict)
    suite_folder: Path = Path()
    model_folder: Path = Path()


@dataclass
class _Document:
    """Parsed YAML with the file and line of every value, across the files it refers to."""

    value: Any
    lines: dict[Place, tuple[Path, int]]


def load_study(path: Path) -> Loaded:
    """Read a study.

    Args:
        path: ``.yaml``/``.yml``, or ``.py`` with a function ``study()`` that returns a ``Study``. Running a Python
            study runs its code: it is trusted, as any program of the user's is.

    Raises:
        RequestError: With file, line, field and the nearest valid name.
    """
    if not path.is_file():
        near = did_you_mean(path.name, (p.name for p in _siblings(path)))
        raise RequestError(f"{path}: no such study file.{near}")
    if path.suffix == ".py":
        return _python_study(path)
    if path.suffix not in (".yaml", ".yml"):
        raise RequestError(f"{path}: a study is a .yaml file, or a .py file with a function study()")
    document = _parse(path)
    if not isinstance(document.value, dict):
        raise RequestError(f"{path}: expected a mapping that starts with `study: <name>`")
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
    study = _validate(Study, document, path)
    return Loaded(study, path, source_folders, folders["suite"], folder)


def _python_study(path: Path) -> Loaded:
    spec = importlib.util.spec_from_file_location(f"harness_study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        study = module.study()
    except ValidationError as error:
        raise RequestError(f"{path}: {_sentence(Study, error)[1]}") from error
    except AttributeError as error:
        if not hasattr(module, "study"):
            raise RequestError(f"{path}: expected a function study() that returns a harness.spec.Study") from error
        raise RequestError(f"{path}: {error}") from error
    except Exception as error:  # the user's own code may raise anything; it is reported, and --debug shows it whole
        raise RequestError(f"{path}: {type(error).__name__}: {error}") from error
    finally:
        sys.modules.pop(spec.name, None)
    if not isinstance(study, Study):
        raise RequestError(f"{path}: study() returned {type(study).__name__}, expected a harness.spec.Study")
    folder = path.resolve().parent
    return Loaded(study, path, dict.fromkeys(study.sources, folder), folder, folder)


# ---------------------------------------------------------------------------------------------------------- YAML


def _parse(path: Path) -> _Document:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RequestError(f"{place}: not YAML ({getattr(error, 'problem', None) or error})") from error
    if node is None:
        raise RequestError(f"{path}: the file is empty")
    lines: dict[Place, tuple[Path, int]] = {}
    loader = yaml.SafeLoader("")
    try:
        value = _construct(loader, node, (), path, lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RequestError(f"{place}: {getattr(error, 'problem', None) or error}") from error
    return _Document(value, lines)


def _construct(loader: Any, node: Any, place: Place, path: Path, lines: dict[Place, tuple[Path, int]]) -> Any:
    lines[place] = (path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise RequestError(f"{path}:{key_node.start_mark.line + 1}: a name was expected, not {key!r}")
            if str(key) in result:
                raise RequestError(f'{path}:{key_node.start_mark.line + 1}: "{key}" is given twice')
            result[str(key)] = _construct(loader, value_node, (*place, str(key)), path, lines)
            lines[(*place, str(key))] = (path, key_node.start_mark.line + 1)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, child, (*place, i), path, lines) for i, child in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def _reference(document: _Document, place: Place, folder: Path) -> Path:
    """Replace a file name by the mapping in that file; return the folder its relative paths start from."""
    parent = document.value
    for part in place[:-1]:
        parent = parent.get(part) if isinstance(parent, dict) else None
    if not isinstance(parent, dict) or not isinstance(parent.get(place[-1]), str):
        return folder
    name: str = parent[place[-1]]
    target = (folder / name).resolve()
    if not target.is_file():
        file, line = document.lines[place]
        near = did_you_mean(target.name, (p.name for p in _siblings(target)))
        raise RequestError(f"{file}:{line}: {_dotted(place)}: no such file: {name}.{near}")
    inner = _parse(target)
    parent[place[-1]] = inner.value
    for inner_place, where in inner.lines.items():
        document.lines[(*place, *inner_place)] = where
    return target.parent


def _siblings(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []


# -------------------------------------------------------------------------------------------------------- errors


def _validate(model: type[Study], document: _Document, path: Path) -> Study:
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        place, text = _sentence(model, error)
        while place and place not in document.lines:
            place = place[:-1]
        file, line = document.lines.get(place, (path, 1))
        raise RequestError(f"{_shown(file, path)}:{line}: {text}") from error


def _shown(file: Path, study: Path) -> Path:
    """Show files as the user would type them: relative to where they are, when that is possible."""
    if file == study:
        return file
    try:
        return file.relative_to(Path.cwd())
    except ValueError:
        return file


def _sentence(model: type[BaseModel], error: ValidationError) -> tuple[Place, str]:
    """Turn the first problem of a validation into (place, sentence)."""
    problems = error.errors()
    # A misspelt field also makes the right one "missing": report the misspelling, it explains both.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = tuple(part for part in first["loc"] if part not in OPERATIONS)
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
        return place, f'{dotted}: no operation is named "{name}".{did_you_mean(name, OPERATIONS)}'
    if kind == "union_tag_not_found":
        return place, f"{dotted}: expected one operation such as `verify` or `filter: {{max_words: 400}}`"
    message = str(first["msg"]).removeprefix("Value error, ")
    given = first.get("input")
    if kind in ("value_error", "assertion_error"):
        return place, f"{dotted}: {message}" if dotted else message
    shown = f" (it is {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    return place, f"{dotted}: {message[0].lower()}{message[1:]}{shown}"


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _noun(owner: type[BaseModel]) -> str:
    name = owner.__name__.lower()
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Follow a location of an error through the models' fields; None where it leaves them."""
    current: type[BaseModel] | None = model
    operations: Mapping[str, type[BaseModel]] = OPERATIONS
    for part in place:
        if part in operations:
            current = operations[str(part)]
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


__all__ = ["Loaded", "Recipe", "Source", "Suite", "Variant", "load_study"]
