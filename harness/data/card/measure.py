"""Measures rows for a data card in bounded time: costly measures take a sample, and the card notes it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import polars as pl

from harness.data import duplicates
from harness.data.card import variety
from harness.data.card.language import language
from harness.data.card.model import (
    Balance,
    Card,
    Contamination,
    Distribution,
    Duplicates,
    Group,
    Histogram,
    Ledger,
    Outlier,
    Perplexity,
    Share,
    Shares,
    TokenCounts,
)
from harness.data.card.parts import PARTS, WHOLE, parts, shapes
from harness.data.text import counted
from harness.escaping import excerpt
from harness.tokens import IGNORED, RowEncoder

SAMPLE = 10_000  # rows, for tokens, languages and n-grams
EMBEDDED = 1_000  # rows, for embeddings: every pair is compared
NEAR = 1_000_000  # rows, for near-duplicates: a pair is found only when both are looked at
LISTED = 20  # values of a share or a balance
BINS = 20
LABEL_WORDS = 5  # completions of at most this many words (median) are looked at as labels
FEW = 50  # a column with at most so many different values is shown as labels, whatever its type


Progress = Callable[[str], None]


def measure(
    name: str,
    rows: pl.DataFrame,
    *,
    facts: Mapping[str, str] | None = None,
    encoder: RowEncoder | None = None,
    max_length: int | None = None,
    perplexity: pl.Series | None = None,
    ledger: Ledger | None = None,
    contamination: Contamination | None = None,
    pool: pl.DataFrame | None = None,
    near: bool = True,
    embeddings: bool = False,
    unmeasured: Mapping[str, str] | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    progress: Progress = lambda stage: None,
) -> Card:
    """Return the data card of rows.

    Args:
        name: The card's title.
        rows: Columns ``records.ROW_COLUMNS``, at least one row.
        facts: What the rows are, for the head of the card.
        encoder: Counts tokens; its own limit must not cut rows.
        max_length: Tokens at which training cuts a row.
        perplexity: Perplexity of every row, in order, null where unknown; default: the column ``perplexity`` that rows
            carry.
        ledger: Which rows were dropped before these were left.
        contamination: What decontamination found in the pools of these rows.
        pool: The rows that these were drawn from.
        near: Whether to look for near-duplicates.
        embeddings: Whether to compute sentence embeddings.
        unmeasured: Field of the card -> why it is not measured, in the caller's words.
        sample: Number of rows drawn for costly measures.
        seed: Seed of these draws.
        progress: Called with the name of each stage.

    Raises:
        RequestError: A row cannot be encoded, or a package that a measure needs is missing.
    """
    if not rows.height:
        raise ValueError("a card needs at least one row")
    why = dict(unmeasured or {})
    progress("lengths")
    texts = parts(rows)
    whole = texts[WHOLE]
    words = texts.select(counted(pl.all()))
    characters = whole.str.len_chars()
    lengths = [
        _distribution(column, "words", words[column])
        for column in (*PARTS, WHOLE)
        if words[column].null_count() < rows.height
    ]
    lengths.append(_distribution(WHOLE, "characters", characters))
    card = Card(
        name=name,
        facts=dict(facts or {}),
        rows=rows.height,
        shapes=shapes(rows),
        words=int(words[WHOLE].sum()),
        characters=int(characters.sum()),
        lengths=lengths,
        shares=[_shares(column, rows[column]) for column in ("source", "origin", "license")],
        contamination=contamination,
        ledger=ledger,
    )
    drawn = _draw(rows.height, sample, seed)
    if len(drawn) < rows.height:
        card.notes.append(f"tokens, languages and n-grams: {len(drawn):,} of {rows.height:,} rows, drawn at random")

    if encoder is not None:
        progress("tokens")
        card.tokens, token_lengths = _tokens(rows[drawn], rows.height, encoder, max_length)
        card.lengths = token_lengths + card.lengths
    progress("exact duplicates")
    card.exact = _duplicates(whole, "exact", whole.len())
    if near:
        progress("near-duplicates")
        looked = whole if whole.len() <= NEAR else whole[_draw(whole.len(), NEAR, seed)]
        card.near = _duplicates(looked, "near", whole.len())
    progress("languages")
    card.languages = _languages(whole[drawn])
    _labels(card, texts["completion"], words["completion"], why)
    carried = _columns(rows["columns"])
    if perplexity is None and "perplexity" in carried:
        perplexity = pl.Series([_finite(value) for value in carried.pop("perplexity")], dtype=pl.Float64)
    _columns_of(card, carried)
    if perplexity is not None and perplexity.drop_nulls().len():
        card.perplexity = _perplexity(perplexity, whole)
    progress("n-grams")
    card.ngrams = variety.ngrams(whole[drawn])
    if card.ngrams is None:
        why.setdefault("ngrams", "the rows hold no words")
    elif card.ngrams.rows < len(drawn):
        card.notes.append(f"n-grams: the first {card.ngrams.words:,} words, {card.ngrams.rows:,} rows")
    if embeddings:
        progress("embeddings")
        _embed(card, whole, pool, seed, why)
    _say_why(card, why)
    return card


def _draw(rows: int, most: int, seed: int) -> list[int]:
    """Return positions of rows drawn at random, in order; all positions if there are at most ``most`` rows."""
    if rows <= most:
        return list(range(rows))
    return sorted(np.random.default_rng(seed).choice(rows, size=most, replace=False).tolist())


def _distribution(of: str, unit: str, values: pl.Series) -> Distribution:
    known = values.drop_nulls()
    whole = known.dtype.is_integer()
    numbers = known.cast(pl.Float64).to_numpy()
    cuts = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1, 0.99)
    points = [float(value) for value in np.quantile(numbers, cuts, method="closest_observation")]
    start, end = (
        points[0],
        points[-1],
    )  # the last percent is counted in `above`: one huge value would flatten all others
    width = float(max(1, math.ceil((end - start + 1) / BINS))) if whole else (end - start) / BINS or 1.0
    bins = max(1, math.ceil((end - start + 1) / width)) if whole else BINS
    last = start + bins * width
    inside = numbers[numbers < last] if whole else numbers[numbers <= last]
    counts = np.histogram(inside, bins=bins, range=(start, last))[0]
    return Distribution(
        of=of, unit=unit, values=known.len(), missing=values.len() - known.len(), total=float(numbers.sum()),
        mean=float(numbers.mean()), minimum=points[0], p5=points[1], p25=points[2], median=points[3],
        p75=points[4], p95=points[5], maximum=points[6],
        histogram=Histogram(start=start, width=width, counts=counts.tolist(), above=known.len() - int(counts.sum())),
    )  # fmt: skip


def _top(values: pl.Series) -> tuple[list[Share], int, int]:
    """Return the most frequent values, the number of different values, and the number of rows with other values."""
    counted = values.alias("value").value_counts().sort("count", "value", descending=[True, False])
    top = [
        Share(name=None if value is None else excerpt(str(value), 80), rows=count, share=count / values.len())
        for value, count in counted.head(LISTED).iter_rows()
    ]
    return top, counted.height, values.len() - sum(share.rows for share in top)


def _shares(of: str, values: pl.Series) -> Shares:
    top, distinct, others = _top(values)
    return Shares(of=of, rows=values.len(), distinct=distinct, top=top, others=others)


def _tokens(
    rows: pl.DataFrame, total: int, encoder: RowEncoder, limit: int | None
) -> tuple[TokenCounts, list[Distribution]]:
    given, learned = [], []
    for row in rows.iter_rows(named=True):
        labels = encoder.encode(row).labels
        counted = sum(label != IGNORED for label in labels)
        given.append(len(labels) - counted)
        learned.append(counted)
    whole = pl.Series(given) + pl.Series(learned)
    tokens = TokenCounts(
        total=round(int(whole.sum()) * total / rows.height),
        exact=rows.height == total,
        rows=rows.height,
        learned=sum(learned) / max(int(whole.sum()), 1),
        limit=limit,
        cut=None if limit is None else int((whole > limit).sum()),
    )
    prompt, completion = pl.Series(given), pl.Series(learned)
    named = [("prompt", prompt), ("completion", completion)] if sum(given) else []
    return tokens, [_distribution(of, "tokens", values) for of, values in (*named, (WHOLE, whole))]


def _duplicates(texts: pl.Series, method: Literal["exact", "near"], rows: int) -> Duplicates:
    firsts = duplicates.clusters(texts, method)
    groups = firsts.alias("first").value_counts().filter(pl.col("count") > 1)
    groups = groups.sort("count", "first", descending=[True, False])
    repeats = int((groups["count"] - 1).sum())
    return Duplicates(
        method=method,
        threshold=duplicates.THRESHOLDS["near"] if method == "near" else None,
        rows=texts.len(),
        repeats=repeats,
        rate=repeats / texts.len(),
        groups=groups.height,
        largest=[Group(rows=count, text=excerpt(texts[first])) for first, count in groups.head(5).iter_rows()],
        at_least=texts.len() < rows,
    )


def _languages(texts: pl.Series) -> Shares:
    return _shares("language", pl.Series([language(text) for text in texts], dtype=pl.String))


def _labels(card: Card, completions: pl.Series, words: pl.Series, why: dict[str, str]) -> None:
    known = completions.drop_nulls()
    if not known.len():
        why.setdefault("labels", "the rows have no completions")
        return
    median = float(words.drop_nulls().median() or 0)  # type: ignore[arg-type]
    if median > LABEL_WORDS:
        why.setdefault("labels", f"completions are no labels: half of them have more than {median:g} words")
        return
    card.labels.append(_balance("completion", known.str.strip_chars()))


def _balance(of: str, values: pl.Series) -> Balance:
    top, distinct, others = _top(values)
    shares = values.value_counts()["count"].sort().to_numpy() / values.len()  # sorted: sums are to the last bit
    evenness = float(-(shares * np.log(shares)).sum() / math.log(distinct)) if distinct > 1 else None
    return Balance(of=of, rows=values.len(), distinct=distinct, evenness=evenness, top=top, others=others)


def _columns(cells: pl.Series) -> dict[str, list[Any]]:
    """Return the columns that rows carry along, by name; None where a row lacks one."""
    if cells.null_count() == cells.len():
        return {}
    carried: dict[str, list[Any]] = {}
    for position, cell in enumerate(cells):
        for name, value in (json.loads(cell) if cell else {}).items():
            if name not in carried:
                carried[name] = [None] * cells.len()
            carried[name][position] = value
    return carried


def _columns_of(card: Card, carried: Mapping[str, list[Any]]) -> None:
    """Put the columns that rows carry on the card.

    Numbers become distributions; other values, and at most ``FEW`` different numbers, become labels.
    """
    for name, values in carried.items():
        known = [value for value in values if value is not None]
        if all(_finite(value) is not None for value in known) and len(set(known)) > FEW:
            series = pl.Series([_finite(value) for value in values], dtype=pl.Float64)
            card.numbers.append(_distribution(name, "", series))
        elif known:
            shown = [value if isinstance(value, str) else json.dumps(value) for value in known]
            card.labels.append(_balance(name, pl.Series(shown, dtype=pl.String)))


def _finite(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _perplexity(values: pl.Series, texts: pl.Series) -> Perplexity:
    """Call a row an outlier when its log perplexity is more than 3 robust SDs (1.4826 MAD) from the median."""
    table = pl.DataFrame({"value": values, "text": texts}).drop_nulls("value").filter(pl.col("value") > 0)
    logs = table["value"].log()
    middle = float(logs.median() or 0.0)  # type: ignore[arg-type]
    spread = 3 * 1.4826 * float((logs - middle).abs().median() or 0.0)  # type: ignore[arg-type]
    high, low = math.exp(middle + spread), math.exp(middle - spread)
    above = table.filter(pl.col("value") > high).sort("value", descending=True)
    return Perplexity(
        values=_distribution("perplexity", "", values),
        high=high,
        low=low,
        above=above.height,
        below=table.filter(pl.col("value") < low).height,
        strangest=[Outlier(value=value, text=excerpt(text)) for value, text in above.head(5).iter_rows()],
    )


def _embed(card: Card, whole: pl.Series, pool: pl.DataFrame | None, seed: int, why: dict[str, str]) -> None:
    if whole.len() < 2:
        why["embeddings"] = "it takes two rows to be alike"
        return
    drawn = _draw(whole.len(), EMBEDDED, seed)
    of_pool = None
    if pool is not None:
        of_pool = parts(pool[_draw(pool.height, EMBEDDED, seed)])[WHOLE].to_list()
    card.embeddings = variety.embeddings(whole[drawn].to_list(), of_pool)
    if len(drawn) < whole.len():
        card.notes.append(f"embeddings: {len(drawn):,} of {whole.len():,} rows, drawn at random")


def _say_why(card: Card, why: dict[str, str]) -> None:
    """Set the reason why each missing measure was not taken: the caller's, or the usual one."""
    usual = {
        "tokens": "no tokenizer was given",
        "near": "left out on request",
        "labels": "no short completions and no columns",
        "perplexity": "the rows carry no column named perplexity",
        "embeddings": "not asked for",
        "contamination": "not checked",
        "ledger": "nothing is known of rows dropped before",
        "ngrams": "the rows hold no words",
    }
    for field, reason in usual.items():
        if not getattr(card, field):
            card.unmeasured[field] = why.get(field, reason)
