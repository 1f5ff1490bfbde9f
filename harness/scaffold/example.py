"""The quickstart study in one file, for whoever installed the package and has no data at hand yet."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from harness.scaffold import out


def write_example(study: Path, *, force: bool = False) -> list[Path]:
    """Write the quickstart study, its recipe and suite within it, and return the files.

    Args:
        study: The file to write.
        force: Whether what is there is to be replaced.

    Raises:
        RequestError: It is no place for a study, or something is there. Nothing was written.
    """
    out.check(study, force=force)
    text = files("harness.scaffold").joinpath("quickstart.yaml").read_text(encoding="utf-8")
    schema = out.write_schema(study)
    study.write_text(out.editor_line(study) + text, encoding="utf-8")
    return [study, schema]
