"""How modules import each other, beyond what import-linter's contracts in ``pyproject.toml`` say."""

import pkgutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter

import grimp

import harness
from tests.command import ROOT, environment

HEAVY = ("datasets", "lm_eval", "mlflow", "peft", "ray", "torch", "transformers", "trl")
AT_ONCE = ("harness.training", "harness.evaluation", "harness.engines.ray")  # run in workers, or on a cluster
LOOK = """
import importlib, sys

for name in {names}:
    importlib.import_module(name)
    if loaded := sys.modules.keys() & {heavy}:
        sys.exit(f"importing {{name}} loads {{sorted(loaded)}}")
"""
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_no_module_needs_itself() -> None:
    """Imports inside functions count too; those for types do not, which never run."""
    graph = grimp.build_graph("harness", cache_dir=None, exclude_type_checking_imports=True)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    order = list(TopologicalSorter(imports).static_order())  # raises CycleError, with the circle
    assert order.index("harness.engines.worker") < order.index("harness.engines.ray.engine")


def test_only_training_evaluation_and_the_ray_engine_load_heavy_libraries_when_imported() -> None:
    """Every other module imports them when it uses them, if ever."""
    found = sorted(module.name for module in pkgutil.walk_packages(harness.__path__, "harness."))
    names = [name for name in found if not name.startswith(AT_ONCE) and not name.endswith("__main__")]
    assert len(names) > 150
    code = LOOK.format(names=names, heavy=set(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_module_has_a_layer() -> None:
    """The contract on layers says nothing of a module that it does not name."""
    (layers,) = (one["layers"] for one in CONTRACTS if one["type"] == "layers")
    named = {name.strip() for layer in layers for name in layer.split("|")}
    assert named == {f"harness.{module.name}" for module in pkgutil.iter_modules(harness.__path__)} - {
        "harness.__main__"
    }


def test_who_may_import_what_is_checked_for_modules_that_are_yet_to_be_written() -> None:
    kinds = {one["name"]: one["type"] for one in CONTRACTS if one["name"].startswith("Only ")}
    assert len(kinds) >= 5
    assert set(kinds.values()) == {"protected"}
