"""Train-and-check data ablations: which fine-tuning data to grow, hold or cut, with honest intervals.

What people do in a notebook::

    import harness

    study = harness.open_study("study.yaml")
    study.plan()                         # variants, rows, tokens, power and cost; nothing is trained
    answer = study.run()                 # goes on where it was stopped
    answer.decisions                     # polars frames; to_pandas() works
    answer.report("report.html")
    study.grow(500)                      # what to buy with a budget, by the ladders' learning curves

    harness.stats.compare(frame, baseline="base")       # any tool's scores
    harness.data.dedupe(rows).kept
    harness.data.decontaminate(rows, items).overlaps

Nothing is loaded before it is used: ``import harness`` takes some milliseconds.
"""

# Nothing is imported here, not even of the standard library: `python -m harness` reads this file while modules in the
# current folder still come first.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from harness import data as data
    from harness import stats as stats
    from harness.errors import HarnessError, RequestError, StepError
    from harness.session import Session, open_study
    from harness.session.answer import Answer
    from harness.session.planned import Planned
    from harness.spec import Study

__version__ = "0.1.0"
__all__ = [
    "Answer", "HarnessError", "Planned", "RequestError", "Session", "StepError", "Study", "data", "open_study", "stats",
]  # fmt: skip

_HOME = {
    "Answer": "harness.session.answer",
    "HarnessError": "harness.errors",
    "Planned": "harness.session.planned",
    "RequestError": "harness.errors",
    "Session": "harness.session",
    "StepError": "harness.errors",
    "Study": "harness.spec",
    "open_study": "harness.session",
}


def __getattr__(name: str) -> object:
    """Load a name of the API when it is first used."""
    from importlib import import_module

    if name in ("data", "stats"):
        return import_module(f"harness.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
