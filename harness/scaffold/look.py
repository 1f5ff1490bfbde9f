"""What is in a file: its rows as a study would read them, and what a person should know before training on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from harness.data import duplicates, layouts, operations, sources
from harness.data.card.language import UNCLEAR, language
from harness.data.card.parts import WHOLE, parts
from harness.data.reading import Record
from harness.data.rows import Built, place
from harness.errors import RequestError
from harness.scaffold.columns import Columns, mapped
from harness.scaffold.registry import described
from harness.spec import DRAFTED, Clean, Objective, Pii, Source, Verify
from harness.unpacking import printable

LOOKED = 400  # rows whose language is told, and that cleaning and masking are tried on
NEAR = 50_000  # rows: near-duplicates among more of them take minutes to find
SHOWN = 0.02  # share of rows from which a finding is worth a line
FOREIGN = 0.1  # share of rows from which a second language is worth a line
TELLING = 80  # characters of a row below which its language is a guess
ALIKE = {"en": ("pcm",)}  # what short texts of a language are taken for


@dataclass
class Pool:
    """One source, looked at.

    Attributes:
        name: What the study will call it.
        source: As the study will write it; its path starts from ``base``.
        base: The study's folder.
        rows: Columns ``records.ROW_COLUMNS``: the rows that can be used, in order.
        parts: prompt, completion and the whole text of each (see ``data.card.parts``).
        unusable: Place of every other row -> why it cannot be used.
        mapping: Which column is what.
        repeats: For each row the position of the first row with the same words.
        languages: Share of rows by language, the largest first; those too short to tell left out.
        findings: What a person should know, in words.
        dropping: Arm -> operation as a study writes it; only such as would change some of the rows.
        wrong: Positions of rows whose completion is not what their answer column says: they are no items.
    """

    name: str
    source: Source
    base: Path
    rows: pl.DataFrame
    parts: pl.DataFrame
    unusable: dict[str, str]
    mapping: Columns
    repeats: pl.Series
    languages: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    dropping: dict[str, Any] = field(default_factory=dict)
    wrong: set[int] = field(default_factory=set)

    @property
    def shape(self) -> str:
        """What kind of rows these are: ``messages``, ``text``, ``chosen`` (preference pairs) or ``completion``."""
        first = self.rows.row(0, named=True)
        return next(name for name in ("chosen", "messages", "text", "completion") if first[name] is not None)

    @property
    def objective(self) -> Objective:
        """The training objective that these rows are for."""
        return DRAFTED[self.shape]


def look(name: str, given: Source, base: Path, fields: Mapping[str, str], tell: Callable[[str], None]) -> Pool:
    """Read a source and say what is in it.

    Args:
        name: What the study will call it.
        given: Its path (or Hub dataset), nothing else.
        base: The folder that its path starts from.
        fields: What the user declared.
        tell: Hears what is being done.

    Raises:
        RequestError: It cannot be read, its columns are not understood, or none of its rows can be used.
    """
    tell(f"Reading {name}")
    mapping = mapped(*_first(name, given, base), fields, _registered(given, base))
    source = given.model_copy(update={"fields": mapping.fields, "optional": mapping.optional})
    try:
        built = sources.load(name, source.model_copy(update={"on_bad_row": "drop"}), base)
    except RequestError as error:  # there is no study yet to declare anything in
        said = str(error).replace(f"sources.{name}.fields", "--field").removeprefix("sources.")
        raise RequestError(said) from error
    unusable = {str(line["place"]): str(line["reason"]) for line in built.drops.iter_rows(named=True)}
    rows, broken = _usable(built.rows)
    unusable |= broken
    if not rows.height:
        raise _none(name, "used", unusable)
    split = parts(rows)
    tell(f"Looking at {rows.height:,} rows of {name}")
    pool = Pool(name, source, base, rows, split, unusable, mapping, duplicates.clusters(split[WHOLE]))
    _find(pool)
    return pool


def _first(name: str, source: Source, base: Path) -> tuple[list[Mapping[str, Any]], str]:
    """Return sound records of a source that show its columns, and where the first is."""
    bad: dict[str, str] = {}
    places: list[str] = []

    def sound(rows: Iterable[Record]) -> Iterator[dict[str, Any]]:
        for record in rows:
            if record.value:
                places.append(record.place)
                yield record.value
            else:
                bad[record.place] = printable(record.problem) or "an object without columns"

    with closing(sources.records(name, source, base)) as rows:
        found = layouts.telling(sound(rows))
    if not found:
        raise _none(name, "read", bad)
    return found, places[0]


def _registered(source: Source, base: Path) -> Columns | None:
    """Return what a registry beside the source's only file says of it."""
    paths = (source.path,) if isinstance(source.path, str) else source.path or ()
    return described(base / paths[0]) if len(paths) == 1 else None


def _none(name: str, what: str, bad: Mapping[str, str]) -> RequestError:
    """Say why a source has no rows, as other verbs do: with the first one's reason."""
    if not bad:
        return RequestError(f"{name}: no row of it can be read: it is empty")
    place, reason = next(iter(bad.items()))
    return RequestError(f"{name}: none of its {_some(len(bad), 'row')} can be {what}; the first, {place}: {reason}")


def _usable(rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the rows that training can use, and why it cannot use the others."""
    reasons: list[str | None] = []
    for talk, completion, chosen in rows.select("messages", "completion", "chosen").iter_rows():
        if talk is not None and chosen is None and json.loads(talk)[-1]["role"] != "assistant":
            reasons.append("the last message is not the assistant's")
        else:
            reasons.append("the completion is empty" if completion is not None and not completion.strip() else None)
    lost = pl.Series(reasons, dtype=pl.String)
    gone = {str(place(row)): str(why) for row, why in zip(rows.iter_rows(named=True), reasons, strict=True) if why}
    return rows.filter(lost.is_null()), gone


def _find(pool: Pool) -> None:
    """Write down what a person should know, and what operations would drop."""
    rows, total = pool.rows, pool.rows.height
    if pool.unusable:
        where, why = next(iter(pool.unusable.items()))
        pool.findings.append(f"{_some(len(pool.unusable), 'row')} of no use; the first, {where}: {why}")
    pool.findings += pool.mapping.notes
    _repeats(pool)
    some = rows.gather_every(max(1, total // LOOKED)).head(LOOKED)
    texts = pool.parts[WHOLE].gather_every(max(1, total // LOOKED)).head(LOOKED)
    _languages(pool, texts)
    context = operations.Context(place=pool.name, seed=0)
    if rows["verifier"].null_count() == 0 and pool.shape in ("completion", "messages"):
        failed = set(operations.apply(rows, Verify(), context).drops["row_id"])
        pool.wrong = {at for at, row_id in enumerate(rows["row_id"]) if row_id in failed}
        if pool.wrong:
            number = _some(len(pool.wrong), "completion")
            pool.findings.append(f"{number} with another number at the end than the answer column gives")
            pool.dropping["verified"] = "verify"
        else:
            pool.findings.append("every completion ends in the number that the answer column gives")
    odd = affected(some, operations.apply(some, Clean(), context))
    if odd >= SHOWN * some.height:
        pool.findings.append(f"about {odd / some.height:.0%} of rows hold wrongly decoded or broken text (clean)")
        pool.dropping["cleaned"] = "clean"
    private = operations.apply(some, Pii(action="drop"), context).drops.height
    if private:
        pool.findings.append(
            f"about {private / some.height:.0%} of rows seem to hold e-mail addresses, phone or card numbers; "
            "`operations: [pii]` under the source masks them"
        )
    words = pool.parts[WHOLE].str.count_matches(r"\S+")
    usual, long = int(words.quantile(0.9) or 0), int(words.quantile(0.99) or 0)
    if usual and long > 2 * usual:
        pool.dropping["shorter"] = {"filter": {"max_words": usual}}


def affected(rows: pl.DataFrame, built: Built) -> int:
    """Return how many rows an operation dropped, or changed in more than white space."""
    before = dict(zip(map(place, rows.iter_rows(named=True)), parts(rows)[WHOLE], strict=True))
    after = zip(map(place, built.rows.iter_rows(named=True)), parts(built.rows)[WHOLE], strict=True)
    changed: int = sum(before[where].split() != text.split() for where, text in after)
    return rows.height - built.rows.height + changed


def _repeats(pool: Pool) -> None:
    total = pool.rows.height
    exact = int((pool.repeats != pl.int_range(total, eager=True)).sum())
    if exact:
        pool.findings.append(f"{_some(exact, 'row')} with the same words as an earlier one")
        pool.dropping["deduped"] = "dedupe"
    if total <= NEAR:
        near = duplicates.clusters(pool.parts[WHOLE], "near")
        number = int((near != pl.int_range(total, eager=True)).sum())
        if number - exact >= SHOWN * total:
            pool.findings.append(f"{_some(number, 'row')} with nearly the same words as an earlier one")
            pool.dropping["deduped"] = {"dedupe": {"method": "near"}}


def _some(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _languages(pool: Pool, texts: pl.Series) -> None:
    told = Counter(language(text) for text in texts if len(text) >= TELLING)
    told.pop(UNCLEAR, None)
    total = sum(told.values())
    if not total:
        return
    pool.languages = {code: count / total for code, count in told.most_common()}
    main = next(iter(pool.languages))
    own = [main, *ALIKE.get(main, ())]
    if any(share >= FOREIGN for code, share in pool.languages.items() if code not in own):
        shown = ", ".join(f"{code} {share:.0%}" for code, share in pool.languages.items() if share >= FOREIGN)
        pool.findings.append(f"languages of a sample: {shown}")
        pool.dropping[f"only-{main}"] = {"filter": {"languages": own}}
