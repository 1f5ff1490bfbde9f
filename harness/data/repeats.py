"""Finds rows that repeat an earlier row, in a file or in memory, for ``dedupe`` and its command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from harness.data import duplicates, fields, layouts
from harness.data.fields import BadRow, Template
from harness.data.given import Given
from harness.data.rows import row_text
from harness.errors import Asked, RequestError, did_you_mean
from harness.formats import plural
from harness.unpacking import printable

SHOWN = 5  # largest clusters in a summary
EXCERPT = 80  # characters
LISTED = 1000  # bad rows in a summary, which counts all of them

Method = Literal["exact", "near", "semantic"]
Tell = Callable[[str], Callable[[int, int], None]]  # stage -> function to call with (steps done, steps in all)


@dataclass(frozen=True)
class Repeats:
    """Which rows repeat which.

    Attributes:
        ids: For each row that can be compared, its own id, or its place if it has none.
        texts: For each of these rows, the text that was compared.
        first: For each of these rows, the position among them of the first row of its cluster.
        bad: Place -> reason, of each row that cannot be compared.
        stays: For every row, those that cannot be compared included, whether it is the first of its cluster.
        layout: How rows were compared.
        method: The method requested.
        threshold: The similarity from which rows repeat each other; None for ``exact``.
    """

    ids: list[Any]
    texts: list[str]
    first: list[int]
    bad: dict[str, str]
    stays: list[bool]
    layout: Layout
    method: Method
    threshold: float | None

    def clusters(self) -> Iterator[dict[str, Any]]:
        """Yield each row's id and its cluster, which is the id of the cluster's first row."""
        return ({"id": name, "cluster": self.ids[to]} for name, to in zip(self.ids, self.first, strict=True))

    def summary(self) -> dict[str, Any]:
        """Return the figures for people and for JSON."""
        sizes, kept = Counter(self.first), sum(self.stays)
        return {
            "rows": len(self.ids),
            "kept": kept,
            "dropped": len(self.ids) - kept,
            "bad": len(self.bad),
            "bad_rows": [{"place": place, "reason": reason} for place, reason in islice(self.bad.items(), LISTED)],
            "compared": list(self.layout.fields.values()),
            "left_out": self.layout.left_out,
            "repeated": sum(size > 1 for size in sizes.values()),
            "method": self.method,
            "threshold": self.threshold,
            "largest": [
                {"cluster": self.ids[to], "rows": size, "excerpt": self._excerpt(to)}
                for to, size in sizes.most_common(SHOWN)
                if size > 1
            ],
        }

    def _excerpt(self, row: int) -> str:
        return " ".join(self.texts[row][: 4 * EXCERPT].split())[:EXCERPT]


@dataclass(frozen=True)
class Layout:
    """How rows are compared: by which fields and templates, and which columns are left out."""

    fields: dict[str, str]
    templates: dict[str, Template]
    left_out: list[str]


def check(method: str, threshold: float | None, asked: Asked) -> None:
    """Refuse a threshold for a method that takes none."""
    if threshold == 0 or (threshold is not None and method == "exact"):
        where = f"exact needs none; it goes with {asked('method', 'near')} or semantic"
        raise RequestError(f"{asked('threshold')}: {where if threshold else 'expected more than 0'}")


def find(
    given: Given, method: Method, threshold: float | None, field: str | None, on_bad_row: str, asked: Asked, tell: Tell
) -> Repeats:
    """Find the rows that repeat an earlier one.

    Args:
        given: The rows, in any layout that a source may have.
        method: The same words, nearly the same words, or the same meaning.
        threshold: Similarity of duplicates; None: that of the method.
        field: Compare this column or canonical field; None: all text.
        on_bad_row: ``stop`` at a row that cannot be compared, or ``drop`` it.
        asked: What messages call the parameters.
        tell: Called with the name of each stage; returns the function that reports its progress.

    Raises:
        RequestError: The rows cannot be read, or there are none; or one of them is broken or lacks the text.
    """
    threshold = duplicates.THRESHOLDS.get(method) if threshold is None else threshold
    ids: list[Any] = []
    texts: list[str] = []
    at: list[int | None] = []  # of every row: its position among those compared; None where it can never stay
    bad: dict[str, str] = {}
    layout = _layout(given, field, asked)
    report = tell("Reading")
    for record in given.records():
        try:
            if record.value is None:
                raise BadRow(record.problem)
            texts.append(_text(record.value, layout.templates))
        except BadRow as error:
            reason = printable(str(error))
            if on_bad_row == "stop":
                drop = f"{asked('on_bad_row', 'drop')} leaves such rows out."
                nothing = f"{asked.nothing}; " if asked.nothing else ""
                raise RequestError(f"{record.place}: {reason}. {nothing}{drop}") from error
            bad[record.place] = reason
            at.append(None)
            continue
        at.append(len(ids) if record.value else None)
        name = record.value.get("id")
        ids.append(record.place if name is None else name)
        if not len(ids) % 10_000:
            report(len(ids), 0)
    if not ids:
        place, reason = next(iter(bad.items()), ("", ""))
        shown = f"{given.name}: all" if given.path else "all"
        why = f"{shown} {len(bad):,} rows are bad; the first, {place}: {reason}"
        if not bad:
            why = f"{given.name} has no rows" if given.path else "there are none"
        raise RequestError(f"{asked('rows')}: {why}.{asked.ending}")
    first = duplicates.clusters(texts, method, threshold, tell("Comparing")).to_list()
    stays = [position is not None and first[position] == position for position in at]
    return Repeats(ids, texts, first, bad, stays, layout, method, threshold)


def _layout(given: Given, field: str | None, asked: Asked) -> Layout:
    """Return how a row's text is made: from one column, or from the canonical fields of a known layout."""
    places: list[str] = []

    def sound() -> Iterator[dict[str, Any]]:
        for record in given.records():
            if record.value:
                places.append(record.place)
                yield record.value

    sample = layouts.telling(sound())
    if not sample:
        return Layout({}, {}, [])
    values = layouts.columns_of(sample)
    declared: dict[str, str] = {}
    if field in values:
        example = next((value for value in values[field] if value is not None), None)
        declared = {"messages" if isinstance(example, list) else "text": field}
    try:
        templates = fields.declared("in", declared, list(sample[0]), places[0], sample=sample)
    except RequestError as error:
        message = str(error).split(" Declare ")[0]
        raise RequestError(f"{message} Name the column to compare with {asked('field')}.") from error
    if field is not None and not declared:
        if field not in templates:
            hint = did_you_mean(field, {*values, *templates})
            of = f" of {places[0]}" if given.path else ""
            raise RequestError(f'{asked("field")}: the rows{of} have no column or field "{field}".{hint}')
        templates = {field: templates[field]}
    shown = {name: template.written for name, template in templates.items() if name != "good"}
    return Layout(shown, templates, layouts.left_out(shown, (), values))


def _text(record: Mapping[str, Any], templates: Mapping[str, Template]) -> str:
    templates = {name: template for name, template in templates.items() if name != "good"}
    try:
        if templates.keys() & {"messages", "rejected"}:
            return row_text(fields.canonical(record, templates))
        return "\n".join(template.render(record) for template in templates.values())
    except BadRow:  # rows that cannot be trained on can be compared all the same
        return fields.compared(record, templates)


def sentences(summary: Mapping[str, Any]) -> Sequence[str]:
    """Return a summary as sentences: which rows repeat others, are left out, and which columns are not compared."""
    how = summary["method"] if summary["threshold"] is None else f"{summary['method']}, {summary['threshold']:g}"
    lines = [
        f"{summary['dropped']:,} of {plural(summary['rows'], 'row')} repeat an earlier one ({how}), in "
        f"{plural(summary['repeated'], 'cluster')}; {summary['kept']:,} stay."
    ]
    if summary["bad"]:
        first = summary["bad_rows"][0]
        lost = f"{plural(summary['bad'], 'row')} left out, which cannot be compared; the first, "
        lines.append(f"{lost}{first['place']}: {first['reason']}")
    if summary["left_out"]:
        compared = ", ".join(map(repr, summary["compared"]))
        lines.append(f"Compared: {compared}; not compared: {', '.join(summary['left_out'])}")
    return lines
