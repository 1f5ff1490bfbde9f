"""Where a study is written, and what lets an editor complete and check it: its JSON Schema, in the folder beside it.

A path of this machine would mean nothing to whoever is sent the study, and a study needs the folder beside it anyway.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from harness.errors import RequestError
from harness.loading.schema import FILE_NAME, study_schema


def data_folder(study: Path) -> Path:
    """Return the folder beside a study that holds what goes with it."""
    return study.with_name(f"{study.stem}-data")


def check(study: Path, *, force: bool) -> None:
    """Make sure that a study can be written.

    Args:
        study: The file.
        force: Whether what is there is to be replaced.

    Raises:
        RequestError: It is no place for a study, or something is there.
    """
    if study.suffix not in (".yaml", ".yml"):
        raise RequestError(f"--out: {study}: a study is a .yaml file")
    if not study.absolute().parent.is_dir():
        raise RequestError(f"--out: {study}: there is no folder {study.parent}")
    there = [path for path in (study, data_folder(study)) if path.exists()]
    if there and not force:
        raise RequestError(
            f"{there[0]} is there already; choose another name with --out, or replace it with --force. "
            "Nothing was written."
        )


def editor_line(study: Path) -> str:
    """Return the line by which editors find the schema: they speak of it as the YAML language server does."""
    return f"# yaml-language-server: $schema={quote(data_folder(study).name)}/{FILE_NAME}\n"


def write_schema(study: Path) -> Path:
    """Write the schema where ``editor_line`` says, and return the file."""
    file = data_folder(study) / FILE_NAME
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file
