"""How modules import each other, beyond what import-linter's contracts in ``pyproject.toml`` say."""

from graphlib import TopologicalSorter

import grimp


def test_no_module_needs_itself() -> None:
    """Imports for types count too: what cannot be read without the other is one module in two files."""
    graph = grimp.build_graph("harness", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    order = list(TopologicalSorter(imports).static_order())  # raises CycleError, with the circle
    assert order.index("harness.engines.worker") < order.index("harness.engines.ray.engine")
