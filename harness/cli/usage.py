"""Errors of the command line, as one sentence with the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from harness.errors import did_you_mean
from harness.escaping import visible

# Base class of all errors of a command line; typer exports only its subclasses.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
STUDIES = (".yaml", ".yml", ".py")


def no_arguments(error: Any) -> bool:
    """Return whether a command was called without arguments, which prints its help."""
    return type(error).__name__ == "NoArgsIsHelpError"


def sentence(error: Any, words: Sequence[str] = ()) -> str:
    """Return an error as one sentence.

    Args:
        error: A ``UsageError``. Typer brings its own copy of click or uses the installed one, so errors are
            distinguished by their attributes, not by their class.
        words: The words after ``harness``: an error of an option's value does not name its command.
    """
    context = error.ctx
    command: Any = getattr(context, "command", None)
    called = _called(context) if context is not None else _asked(words)
    parameter = getattr(error, "param", None)
    if hasattr(error, "possibilities"):  # no such option
        options = [name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")]
        near = did_you_mean(error.option_name, [*options, "--help"])
        return f'{called}: there is no option "{visible(error.option_name)}".{near}'
    verbs = getattr(command, "commands", None)
    if verbs is not None and parameter is None:
        word = re.search(r"command '(.*?)'\.?(?: Did you mean|$)", str(error.message), re.DOTALL)
        if word:
            return _no_verb(called, visible(word[1]), verbs)
    if parameter is not None:
        named = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar or parameter.name
        if hasattr(error, "param_type"):  # missing
            return f"{called}: {named} is missing ({parameter.help}). See {called} --help"
        return f"{called}: {named}: {_said(error)}"
    if hasattr(error, "option_name"):
        wants = "takes no value" if "does not take" in str(error.message) else "needs a value"
        return f"{called}: {error.option_name} {wants}. See {called} --help"
    return f"{called}: {_said(error)} See {called} --help"


def _called(context: Any) -> str:
    """Return the command as it was called, without typer's list of its arguments."""
    words: list[str] = []
    while context is not None:
        words.insert(0, str(context.info_name).split("/")[-1])
        context = context.parent
    return " ".join(["harness", *words[1:]])


def _asked(words: Sequence[str]) -> str:
    """Return the verb at the beginning of some words."""
    from typer.main import get_command

    from harness.cli import app

    command: Any = get_command(app)
    called = ["harness"]
    for word in words:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        called.append(word)
    return " ".join(called)


def _no_verb(called: str, word: str, verbs: Any) -> str:
    path = Path(word)
    if called == "harness" and word and (path.exists() or path.suffix in STUDIES):
        if path.suffix in STUDIES:
            return f"harness {word}: what is to be done with it? harness plan {word}, or harness run {word}"
        return f"harness {word}: what is to be done with it? harness init {word} writes a first study of these rows"
    return f'{called}: there is no command "{word}".{did_you_mean(word, verbs)}'


def _said(error: Any) -> str:
    """Return the library's message in the style of our messages."""
    said = visible(str(error.message)).replace("Input should be ", "expected ").split(", unable to parse")[0]
    said = said[:1].lower() + said[1:]
    return said if said.endswith((".", "?")) else f"{said}."
