"""The Python API: light, typed, described, and what its pages say works."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.resources import files

import pytest

import harness
from tests.command import environment

HEAVY = ("torch", "polars", "numpy", "pydantic", "rich", "typer", "mlflow", "transformers")


def test_importing_it_loads_nothing() -> None:
    script = f"import harness, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout.strip() == "[]"


def test_a_study_is_opened_without_torch() -> None:
    script = "import harness, sys; harness.open_study; harness.Answer; harness.Study; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout.strip() == "False"


def test_types_come_with_the_package() -> None:
    assert files("harness").joinpath("py.typed").is_file()


def members(name: str) -> list[tuple[str, object]]:
    """Return what people may use of a name: itself, and its public methods and properties."""
    made = getattr(harness, name)
    found = [(name, made)]
    if inspect.isclass(made) and not issubclass(made, Exception) and made is not harness.Study:
        for member, value in vars(made).items():
            if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                found.append((f"{name}.{member}", value))
    return found


@pytest.mark.parametrize("name", harness.__all__)
def test_every_name_is_there_and_described(name: str) -> None:
    for member, value in members(name):
        described = inspect.getdoc(value)
        assert described, member
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            asked = [one for one in signature.parameters if one != "self"]
            assert "Args:" in described or not asked, member
            assert signature.return_annotation is not inspect.Signature.empty, member
    assert name in dir(harness)


def test_a_name_that_is_not_there_is_said() -> None:
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'open_studdy'"):
        _ = harness.open_studdy
