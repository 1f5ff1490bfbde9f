"""The answer of a study: verdicts, and everything they are made from as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.answer import complete, progress
from harness.errors import HarnessError, RequestError, StepError, did_you_mean, storage_problem
from harness.records import ArmEffect
from harness.terminal.working import counting, working

if TYPE_CHECKING:
    import polars as pl

    from harness.engines.jobs import Event, Job
    from harness.records import Comparison, Data, Decisions, StudyView
    from harness.report import Report
    from harness.study.plan import Plan
    from harness.tracking import SyncReport

Kind = Literal["html", "md", "json"]


@dataclass(frozen=True)
class Work:
    """The work of one call of ``run``.

    Attributes:
        steps: Number of jobs that were done.
        failed: Jobs that failed, each with its last event.
        tracking: Where the study was logged, or why it was not.
        logged: False when the study should have been logged and was not.
        seconds: Duration.
    """

    steps: int
    failed: list[tuple[Job, Event]]
    tracking: str
    logged: bool
    seconds: float


class Opened(Protocol):
    """The part of a session that an answer uses."""

    def command(self, verb: str) -> str:
        """Return the command line of a verb for the study."""

    def write(self) -> None:
        """Write the data that were built to the store."""


class VariantEffect(ArmEffect):
    """One variant against another; it prints as a line, and is a table in a notebook."""

    def __str__(self) -> str:
        """Return the effect with its interval, p value, seeds and items."""
        from harness.terminal.scores import facts

        return f"{self.variant}: " + ", ".join(f"{heading} {said}" for heading, said in facts(self))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the comparison as HTML in the report's style."""
        from harness.report.html import tabled
        from harness.terminal.scores import facts

        lines = facts(self)
        return tabled(self.variant, [(heading, "left") for heading, _ in lines], [[said for _, said in lines]])


class Answer:
    """The answer of a study, from the results in its store.

    Every table is a polars frame; ``to_pandas()`` converts it.

    Attributes:
        view: The view of the study that tables, MLflow and reports are made from.
        work: The work of the ``run`` that gave this answer; None when nothing was run.
    """

    def __init__(self, session: Opened, plan: Plan, view: StudyView) -> None:
        self._session, self._plan, self.view = session, plan, view
        self.work: Work | None = None

    @property
    def complete(self) -> bool:
        """Whether every run of the study is done."""
        return complete(self._plan)

    @property
    def progress(self) -> str:
        """How many runs are done, in words."""
        return progress(self._plan)

    @property
    def left(self) -> int:
        """Number of runs that are needed and not done."""
        return sum(run.state not in ("done", "not needed") for run in self._plan.runs)

    @property
    def verdicts(self) -> Decisions:
        """The decisions as a record, as ``harness decide --json`` prints it.

        Raises:
            StepError: No run is done yet.
        """
        if self.view.decisions is None:
            raise StepError(f"nothing to decide yet: {self.progress}. Run: {self._session.command('run')}")
        return self.view.decisions

    @property
    def comparison(self) -> Comparison:
        """The comparison as a record, as ``harness compare --json`` prints it.

        Raises:
            StepError: Fewer than two arms have results.
        """
        if self.view.comparison is None:
            raise StepError(f"nothing to compare yet: {self.progress}. Run: {self._session.command('run')}")
        return self.view.comparison

    # ----------------------------------------------------------------------------------------------------- tables

    @property
    def decisions(self) -> pl.DataFrame:
        """One line per question: subject, kind, verdict, effect, ci_low, ci_high, p_adjusted, confirmation, ...

        Raises:
            StepError: No run is done yet.
        """
        return _frame(self.verdicts.decisions, without=("facts",))

    @property
    def trust(self) -> pl.DataFrame:
        """One line per trust check: check, ok, text.

        Raises:
            StepError: No run is done yet.
        """
        return _frame(self.verdicts.trust)

    @property
    def effects(self) -> pl.DataFrame:
        """Every arm against the baseline on every metric, the declared one first: metric, exploratory, variant, ...

        Raises:
            StepError: Fewer than two arms have results.
        """
        found = self.comparison
        lines: list[tuple[dict[str, Any], Data]] = [
            ({"metric": found.metric, "exploratory": False}, arm) for arm in found.arms
        ]
        for other in found.others:
            lines += [({"metric": other.metric, "exploratory": other.exploratory}, arm) for arm in other.arms]
        return _frame([arm for _, arm in lines], [before for before, _ in lines])

    @property
    def growth(self) -> pl.DataFrame:
        """Which data to grow next, best first; columns ``rungs`` and ``curve`` hold lists.

        Raises:
            StepError: No run is done yet.
        """
        return _frame(self.verdicts.growth)

    @property
    def slices(self) -> pl.DataFrame:
        """The declared metric by slice and arm, weakest slice first; exploratory.

        Raises:
            StepError: No run is done yet.
        """
        lines = [(one, arm) for one in self.verdicts.slices for arm in one.arms]
        before = [{"slice": one.slice, "items": one.items, "baseline_mean": one.baseline_mean} for one, _ in lines]
        return _frame([arm for _, arm in lines], before)

    @property
    def runs(self) -> pl.DataFrame:
        """One line per run: variant, seed, state, key, rows, tokens, failure, and the mean of every metric."""
        import polars as pl

        lines = []
        for run in self.view.runs:
            means = {f"{score.task}/{name}": value for score in run.scores for name, value in score.metrics.items()}
            lines.append(
                run.model_dump(include={"variant", "seed", "state", "key", "rows", "tokens", "failure"}) | means
            )
        return pl.DataFrame(lines, infer_schema_length=None)

    @property
    def items(self) -> pl.DataFrame:
        """Every item of every finished run: variant, seed, item_id, task, half, slice, group, and its metrics."""
        import polars as pl

        from harness.answer.view import read

        frames = [
            run.items.select(
                pl.lit(run.planned.variant).alias("variant"), pl.lit(run.planned.seed).alias("seed"), pl.all()
            )
            for run in read(self._plan)
            if run.result is not None
        ]
        return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()

    @property
    def curves(self) -> pl.DataFrame:
        """The training curve of every run: variant, seed, step, loss, learning_rate, grad_norm, tokens_per_second."""
        import polars as pl

        from harness.tracking.metrics import curve_of

        lines = [
            {"variant": run.variant, "seed": run.seed} | point for run in self.view.runs for point in curve_of(run)
        ]
        return pl.DataFrame(lines, infer_schema_length=None)

    # ------------------------------------------------------------------------------------------------------- more

    def compare(self, variant: str, other: str = "baseline") -> VariantEffect:
        """Compare any two variants on the declared metric, on the items that decide.

        The seed noise is pooled over all arms, as in the study's own comparison. The comparison is exploratory: it was
        not registered.

        Args:
            variant: The variant whose effect is estimated.
            other: The variant that it is compared with.

        Raises:
            RequestError: There is no such variant, or one of the two lacks a result at a seed of the baseline.
        """
        from harness.answer.view import read, scores_of
        from harness.statistics.paired import contrast

        names = [one.name for one in self._plan.variants]
        for name in (variant, other):
            if name not in names:
                raise RequestError(f'the study has no variant "{name}".{did_you_mean(name, names)}')
        if variant == other:
            raise RequestError(f'"{variant}" is compared with itself')
        rule = self._plan.study.decide
        scores = scores_of(self._plan, read(self._plan), rule.metric, "selection")
        for name in (variant, other):
            if scores is None or name not in scores.arms:
                raise RequestError(f"{name} has no result at every seed of the baseline: {self.progress}")
        assert scores is not None
        found = contrast(scores, variant, other, rule.alpha)
        return VariantEffect(
            variant=f"{variant} - {other}",
            effect=found.effect,
            se=found.se,
            ci=(found.ci_low, found.ci_high),
            df=found.df,
            p=found.p,
            p_adjusted=None,
            seeds=found.seeds,
            items=found.items,
            mean=scores.mean(variant),
            note=found.note,
        )

    def text(self, kind: Kind = "html") -> str:
        """Return the study as one page.

        Args:
            kind: ``html``, ``md`` (for a pull request) or ``json``.
        """
        from harness.report import html, markdown

        with working("Writing the report"):
            if kind == "json":
                return self._gathered.model_dump_json(indent=1) + "\n"
            return html(self._gathered) if kind == "html" else markdown(self._gathered)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the study as one page.

        Args:
            path: A file that ends in ``.html``, ``.md`` or ``.json``; default: ``<study>-report.html`` here.

        Returns:
            The file.

        Raises:
            RequestError: The path has another ending, or cannot be written.
        """
        target = Path(path or f"{self.view.study}-report.html")
        kinds: dict[str, Kind] = {".html": "html", ".md": "md", ".json": "json"}
        if target.suffix not in kinds:
            raise RequestError(f"{target}: a report is a {', '.join(list(kinds)[:-1])} or {list(kinds)[-1]} file")
        write(target, self.text(kinds[target.suffix]))
        return target

    @cached_property
    def _gathered(self) -> Report:
        """Return the data of the report; the study's data must be in the store."""
        from harness.report import gather

        self._session.write()
        return gather(self._plan, self.view)

    # ----------------------------------------------------------------------------------------------------- MLflow

    def sync(self, uri: str | None = None) -> SyncReport:
        """Write the study to MLflow, with its report; show progress in a terminal.

        Args:
            uri: Tracking URI; default: ``MLFLOW_TRACKING_URI``, else a database beside the store.

        Raises:
            StepError: MLflow does not answer or refuses; the message holds the command that tries again.
        """
        from harness import tracking
        from harness.data.card import render
        from harness.report import gather, html

        told = gather(self._plan, self.view)
        measured = {variant.name: variant.card for variant in told.variants if variant.card is not None}
        cards = {
            name: {"card.html": render(card), "card.json": card.model_dump_json(indent=1)}
            for name, card in measured.items()
        }
        try:
            with counting("Writing to MLflow") as show:
                return tracking.sync(self.view, self._plan.store.root, uri, show, html(told), cards)
        except StepError as error:
            again = self._session.command("sync") + (f" --uri {tracking.public_uri(uri)}" if uri else "")
            raise StepError(f"{error}. When it can be reached: {again}") from error

    def logged(self) -> tuple[bool, str]:
        """Write the study to MLflow without raising an error; return whether it worked, and where it is or why not."""
        try:
            report = self.sync()
        except HarnessError as error:
            return False, str(error)
        except Exception as error:  # whatever fails here, the verdicts are there and are shown
            return False, f"not logged to MLflow: {storage_problem(error) or f'{type(error).__name__}: {error}'}"
        return True, f"MLflow: {report.experiment} at {report.uri}"

    # ------------------------------------------------------------------------------------------------------ shown

    def __str__(self) -> str:
        """Return the verdicts as ``harness decide`` prints them."""
        from harness.terminal.tables import printed
        from harness.terminal.verdicts import show

        if self.view.decisions is None:
            return f"{self.view.study}: {self.progress}"
        return printed(lambda out: show(self.view, out))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the verdicts as the report shows them."""
        from harness.report.html import answered

        return answered(self._gathered)


def write(target: Path, text: str, option: str = "") -> None:
    """Write a file so that readers see the old file or the new file, never a part.

    Args:
        target: The file.
        text: Its content.
        option: The option that named the file: errors begin with it.

    Raises:
        RequestError: The file cannot be written.
    """
    scratch = target.with_name(f".{target.name}.partial")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(target)
    except OSError as error:
        raise RequestError(f"{option}{target} cannot be written ({error.strerror})") from error


def _frame(records: Sequence[Data], before: Sequence[dict[str, Any]] = (), without: Iterable[str] = ()) -> pl.DataFrame:
    """Return records as lines of a table; an interval ``ci`` becomes two columns, ``ci_low`` and ``ci_high``."""
    import polars as pl

    lines = []
    for at, record in enumerate(records):
        line = dict(before[at]) if before else {}
        for name, value in record.model_dump(exclude=set(without)).items():
            if isinstance(value, tuple):
                line[f"{name}_low"], line[f"{name}_high"] = value
            else:
                line[name] = value
        lines.append(line)
    return pl.DataFrame(lines, infer_schema_length=None)
