"""Reads a study file (YAML, or Python with a pure ``study()``) as a ``Study``; errors name file, line and field."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from pydantic import BaseModel, ValidationError

from harness import designs, outside, spec, trusted
from harness.errors import RequestError, did_you_mean
from harness.loading.documents import Document, Lines, Place, is_file, parse, siblings
from harness.loading.sentences import dotted, mentioned, sentence
from harness.spec import DESIGNS, Study

M = TypeVar("M", bound=BaseModel)


@dataclass
class Loaded:
    """A study with the arms of its designs, the folder that each part's relative paths start from, where each field is
    written (an arm of a design: where the design is), and its YAML as written; None of a study in Python.
    """

    study: Study
    file: Path
    source_folders: dict[str, Path] = field(default_factory=dict)
    suite_folder: Path = Path()
    model_folder: Path = Path()
    lines: Lines = field(default_factory=dict)
    document: dict[str, Any] | None = None

    def placed(self, message: str) -> str:
        """Put file and line before a message that starts with a field of the study (``sources.sums.task: ...``).

        Messages about a suite on its own (``suite sums: tasks.a.task: ...``) name the field of the study instead.
        Messages that start with anything else, such as a data file and its line, are returned as they are.
        """
        message = _one_line(message)
        alone = f"suite {self.study.suite.suite}: tasks."
        if message.startswith(alone):
            message = "suite.tasks." + message.removeprefix(alone)
        found = mentioned(message, self.lines)
        if found is not None:
            file, line = self.lines[found]
            return f"{file}:{line}: {message}"
        named = re.match(r"\w+(?=[.:\[ ])", message)
        return f"{self.file}: {message}" if named and named.group() in Study.model_fields else message

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        """Put file and line before the message of an error raised within, which starts with a field of the study."""
        try:
            yield
        except RequestError as error:
            raise RequestError(self.placed(str(error))) from error


def built(study: Study, folder: Path) -> Loaded:
    """Return a study that was built in Python; its designs are expanded to arms.

    Args:
        study: The study.
        folder: The folder from which relative paths in it start.

    Raises:
        RequestError: A design does not fit.
    """
    folder = folder.resolve()
    return _expanded(Loaded(study, Path(study.study), dict.fromkeys(study.sources, folder), folder, folder))


def load_study(path: Path) -> Loaded:
    """Read a study; its designs are expanded to arms.

    Args:
        path: ``.yaml``/``.yml``, or ``.py`` with a function ``study()`` that returns a ``Study``. Running a Python
            study runs its code, which is trusted like any program of the user's.

    Raises:
        RequestError: The study is not valid; the message has file, line, field and the nearest valid name.
    """
    try:
        return _expanded(_load(path))
    except RequestError as error:
        raise RequestError(_one_line(str(error))) from error


def load_part(path: Path, tag: str, kinds: Mapping[str, type[BaseModel]]) -> BaseModel:
    """Read a YAML file that holds one model that is no study, such as an engine.

    Args:
        path: The file.
        tag: The field that holds the kind.
        kinds: Kind -> model.

    Raises:
        RequestError: The file is not valid; the message has file, line, field and the nearest valid name.
    """
    document = parse(path)
    value = document.value
    if not isinstance(value, dict) or tag not in value:
        raise RequestError(_one_line(f"{path}: expected a mapping with `{tag}: <{' or '.join(kinds)}>`"))
    kind = str(value[tag])
    if kind not in kinds:
        line = document.lines[tag,][1]
        raise RequestError(_one_line(f'{path}:{line}: {tag}: no {tag} is named "{kind}".{did_you_mean(kind, kinds)}'))
    try:
        return _validate(document, kinds[kind])
    except RequestError as error:
        raise RequestError(_one_line(str(error))) from error


def _one_line(message: str) -> str:
    """Escape line ends and control characters: text from a file may neither split a message nor control a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)


def _load(path: Path) -> Loaded:
    if path.is_dir():
        raise RequestError(f"{path}: a folder, expected a study file (.yaml, or .py with a function study())")
    if trouble := outside.problem(path):
        raise RequestError(f"{path} {trouble}")
    if not is_file(path):
        near = did_you_mean(path.name, siblings(path, ".yaml", ".yml", ".py"))
        raise RequestError(f"{path}: no such study file.{near}")
    if path.suffix == ".py":
        return _python_study(path)
    if path.suffix not in (".yaml", ".yml"):
        raise RequestError(f"{path}: a study is a .yaml file, or a .py file with a function study()")
    document = parse(path)
    if not isinstance(document.value, dict):
        raise RequestError(f"{path}:{document.lines[()][1]}: expected a mapping that starts with `study: <name>`")
    written = deepcopy(document.value)
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
    study = _validate(document, Study)
    return Loaded(study, path, source_folders, folders["suite"], folder, document.lines, written)


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
    # No bytecode is written: it litters the user's folder, and of a file edited twice within a second it would be old.
    writes_no_code, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        # Modules beside the study can be imported; installed modules of the same name come first.
        with trusted.apart(), patch.object(sys, "path", [*sys.path, str(path.absolute().parent)]):
            loader.loader.exec_module(module)
            if not callable(getattr(module, "study", None)):
                raise RequestError(f"{path}: expected a function study() that returns a harness.spec.Study")
            study = module.study()
    except (RequestError, KeyboardInterrupt):
        raise
    except ValidationError as error:
        # A wrong part is refused where it is made, before there is a study in which it would be a field.
        model: type[BaseModel] = getattr(spec, error.title, Study)
        owner = "" if model is Study else f"{error.title}: "
        raise RequestError(f"{_python_line(path, error)}: {owner}{sentence(model, error)[1]}") from error
    except BaseException as error:  # the user's code may raise anything, even SystemExit
        raise RequestError(f"{_python_line(path, error)}: {trusted.said(error)}") from error
    finally:
        sys.dont_write_bytecode = writes_no_code
    if not isinstance(study, Study):
        raise RequestError(f"{path}: study() returned {type(study).__name__}, expected a harness.spec.Study")
    folder = path.resolve().parent
    return Loaded(study, path, dict.fromkeys(study.sources, folder), folder, folder)


def _python_line(path: Path, error: BaseException) -> str:
    """Return ``file:line`` of the study's line that an error came from."""
    return trusted.line_in(error, path.absolute(), str(path))


def _reference(document: Document, place: Place, folder: Path) -> Path:
    """Replace a file name by the mapping in that file; return the folder its relative paths start from."""
    parent = document.value
    for part in place[:-1]:
        parent = parent.get(part) if isinstance(parent, dict) else None
    if not isinstance(parent, dict) or not isinstance(parent.get(place[-1]), str):
        return folder
    name: str = parent[place[-1]]
    target = folder / name
    if not is_file(target):
        file, line = document.lines[place]
        if trouble := outside.problem(target):
            raise RequestError(f"{file}:{line}: {dotted(place)}: {name} {trouble}")
        near = did_you_mean(target.name, {*siblings(target, ".yaml", ".yml")} - {file.name})
        raise RequestError(f"{file}:{line}: {dotted(place)}: no such file: {name}.{near}")
    target = target.resolve()
    inner = parse(_shown(target))
    parent[place[-1]] = inner.value
    for inner_place, where in inner.lines.items():
        document.lines[(*place, *inner_place)] = where
    return target.parent


def _validate(document: Document, model: type[M]) -> M:
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        place, text = sentence(model, error, document.value)
        place = place or mentioned(text, document.lines) or ()
        while place not in document.lines:
            place = place[:-1]
        file, line = document.lines[place]
        raise RequestError(f"{file}:{line}: {text}") from error


def _shown(file: Path) -> Path:
    """Return a file's path as the user would type it: relative to the current folder if it is below that."""
    try:
        return file.relative_to(Path.cwd())
    except ValueError:
        return file
