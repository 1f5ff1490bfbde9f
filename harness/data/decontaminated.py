"""``harness.data.decontaminate``: rows without those that hold eval items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from pydantic import ValidationError

from harness.data import leaks
from harness.data.given import Given
from harness.data.result import Result
from harness.errors import Asked, RequestError
from harness.formats import plural
from harness.loading.sentences import sentence
from harness.spec import Decontaminate

if TYPE_CHECKING:
    from harness.data.given import Rows

COLUMNS = {"train_id": pl.String, "eval_id": pl.String, "kind": pl.String, "score": pl.Float64, "span": pl.String}


@dataclass(frozen=True, eq=False, repr=False)
class Decontaminated(Result):
    """What ``decontaminate`` found.

    Attributes:
        kept: The rows that stay, in the order given, with all their columns.
        overlaps: One line per row and item: ``train_id`` and ``eval_id`` (own ids as text, or places: ``file:line``,
            ``row 3``, ``item 3``), ``kind``, ``score`` (the share of the item's pairs of neighbouring words that the
            row holds, from 0 to 1; for ``semantic`` the cosine) and ``span`` (the row's words that match).
        summary: The figures that ``harness data decontaminate --json`` prints: rows, items, rows removed, items
            touched, rows and items by kind of overlap, the rule, and rows kept.
    """

    kept: pl.DataFrame
    overlaps: pl.DataFrame
    summary: dict[str, Any]

    def sentences(self) -> Sequence[str]:
        """Return the summary for people."""
        kept = [
            f'{kind} overlaps are listed and stay, in {plural(counted["rows"], "row")}; templates="drop" removes them.'
            for kind, counted in self.summary["kinds"].items()
            if not counted["removed"]
        ]
        return [*leaks.sentences(self.summary), *kept]


def decontaminate(
    rows: Rows,
    items: Rows,
    *,
    ngram: int = 13,
    fuzzy: float | None = 0.6,
    templates: Literal["keep", "drop"] = "keep",
    semantic: float | Literal["auto"] | None = "auto",
) -> Decontaminated:
    """List the training rows that hold eval items, and return the others.

    Args:
        rows: Training rows: a polars or pandas frame, a list of dicts, a ``datasets.Dataset``, or the path of a file,
            in any layout that a source of a study may have. A column ``id`` names the rows.
        items: Eval items, given in the same ways: ``text`` (or ``question``), and perhaps ``id``, ``task``, ``answer``
            and ``choices``; or rows of any layout.
        ngram: Consecutive words that are evidence, from 3 to 50.
        fuzzy: Share of an item that an edited copy keeps, from 0 (excluded) to 1; None or 0: edited copies are not
            looked for.
        templates: Whether rows that ask the same with other numbers or names stay (``keep``; they are listed either
            way) or go (``drop``).
        semantic: Cosine of sentence embeddings from which a row that gives an item's answer is a paraphrase, up to 1;
            "auto": 0.7 for fewer than 2,000 items; None or 0: not looked for.

    Raises:
        RequestError: A parameter has no valid value; rows or items cannot be read, there are none, or one of them is
            broken; or one of the rows' columns has values of several kinds, so that ``kept`` would be no table. The
            message names the line, row or item.

    >>> asked = "How many stripes does the flag of the small harbour town have today?"
    >>> rows = [{"id": "a", "text": f"Quiz night! {asked} Seven."}, {"id": "b", "text": "Flags are made of cloth."}]
    >>> found = decontaminate(rows, [{"id": "q1", "question": asked, "answer": "7"}])
    >>> found
    Decontaminated: 1 of 2 rows overlap 1 of 1 item; 1 stay.
    >>> found.kept["id"].to_list(), found.overlaps.select("train_id", "eval_id", "kind").rows()
    (['b'], [('a', 'q1', 'ngram')])
    """
    try:
        rule = Decontaminate(ngram=ngram, fuzzy=fuzzy or None, templates=templates, semantic=semantic or None)
    except ValidationError as error:
        raise RequestError(sentence(Decontaminate, error)[1]) from None
    given = Given.of(rows, "rows")
    try:
        found = leaks.find(given, Given.of(items, "items", "item "), rule, Asked())
    except RequestError as error:  # nothing could have been started here, and there is no study to declare anything in
        message = str(error).removesuffix(" Nothing was started.")
        raise RequestError(message.replace(" Declare sources.eval.fields:", " Rename them:")) from error
    stays = found.stays()
    overlaps = pl.DataFrame(list(found.lines()), COLUMNS)
    return Decontaminated(
        given.chosen(stays), overlaps, found.summary() | {"rule": found.rule.identity(), "kept": sum(stays)}
    )
