"""The models of what users write: studies, sources, operations, variants, recipes, suites and decision rules.

Every field here is part of the identity of the steps that use it (``identity.py``). How something runs (device,
workers, paths, tracking URI) is defined elsewhere and never part of a spec. Unknown fields are refused.
"""

from harness.spec.base import COMMIT, NAME, Origin, Spec
from harness.spec.data import CANONICAL_FIELDS, Source, Variant
from harness.spec.designs import (
    DESIGNS,
    AddOneIn,
    Design,
    FilterFactorial,
    LeaveOneOut,
    MixtureDirichlet,
    MixtureSearch,
    SizeLadder,
)
from harness.spec.objectives import DRAFTED, OBJECTIVES, Objective
from harness.spec.operations import (
    OPERATIONS,
    AnyOperation,
    Clean,
    Dedupe,
    Filter,
    Operation,
    Operations,
    Pii,
    Sample,
    Trainable,
    Use,
    Verify,
)
from harness.spec.study import MOST_SEEDS, Control, Decide, Decontaminate, Study, Track, spread
from harness.spec.training import DATE, Lora, Recipe, Suite, Task

__all__ = [
    "CANONICAL_FIELDS",
    "COMMIT",
    "DATE",
    "DESIGNS",
    "DRAFTED",
    "MOST_SEEDS",
    "NAME",
    "OBJECTIVES",
    "OPERATIONS",
    "AddOneIn",
    "AnyOperation",
    "Clean",
    "Control",
    "Decide",
    "Decontaminate",
    "Dedupe",
    "Design",
    "Filter",
    "FilterFactorial",
    "LeaveOneOut",
    "Lora",
    "MixtureDirichlet",
    "MixtureSearch",
    "Objective",
    "Operation",
    "Operations",
    "Origin",
    "Pii",
    "Recipe",
    "Sample",
    "SizeLadder",
    "Source",
    "Spec",
    "Study",
    "Suite",
    "Task",
    "Track",
    "Trainable",
    "Use",
    "Variant",
    "Verify",
    "spread",
]
