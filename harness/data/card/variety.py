"""How varied a set of texts is: in its words (n-grams) and in its meaning (sentence embeddings)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.data.card.model import Embeddings, Ngrams, Share
from harness.data.text import joined
from harness.data.text import words as split
from harness.escaping import visible

WINDOW = 1000  # words; vocabulary grows with length, so it is counted over equal lengths
MOST = 2_000_000  # words looked at
FREQUENT = 10  # four-word runs listed
ALIKE = 0.8  # a run shifted by a word, in nearly as many rows, belongs to the same phrase


def ngrams(texts: pl.Series) -> Ngrams | None:
    """Count distinct n-grams within rows.

    distinct-n is the number of different n-grams over the number of n-grams (Li et al., 2016). It falls as texts
    grow, so compare it only between sets of about the same number of words; ``type_token`` (mean segmental type-token
    ratio, Johnson, 1944) can be compared between sets of any size.

    Args:
        texts: One per row.

    Returns:
        None when there are no words at all.
    """
    words = pl.Series([list(split(text)) for text in texts], dtype=pl.List(pl.String))
    lengths = words.list.len().cum_sum()
    enough = max(int((lengths <= MOST).sum()), 1)
    looked = words.head(enough)
    rows = np.repeat(np.arange(enough), looked.list.len().to_numpy())
    flat = looked.explode(empty_as_null=False, keep_nulls=False)[:MOST]
    rows = rows[: len(flat)]
    if not len(flat):
        return None
    vocabulary, unigrams = np.unique(flat.rank("dense").to_numpy().astype(np.int64), return_inverse=True)
    grams, distinct = unigrams, [len(vocabulary) / len(unigrams)]
    for size in (2, 3, 4):
        # A pair (gram of n - 1 words, next word) is numbered anew each time, so numbers never grow large.
        pairs = grams[: -1 if len(grams) else None] * len(vocabulary) + unigrams[size - 1 :]
        grams = np.unique(pairs, return_inverse=True)[1]
        inside = rows[: len(grams)] == rows[size - 1 :]
        distinct.append(len(np.unique(grams[inside])) / inside.sum() if inside.any() else 1.0)
    return Ngrams(
        rows=enough,
        words=len(flat),
        distinct_1=distinct[0],
        distinct_2=distinct[1],
        distinct_3=distinct[2],
        type_token=_type_token(unigrams),
        window=min(WINDOW, len(unigrams)),
        frequent=_frequent(flat, grams, rows, inside, enough),
    )


def _type_token(words: NDArray[np.int64]) -> float:
    size = min(WINDOW, len(words))
    windows = words[: len(words) // size * size].reshape(-1, size)
    return float(np.mean([len(np.unique(window)) for window in windows]) / size)


def _frequent(
    words: pl.Series, grams: NDArray[np.int64], rows: NDArray[np.int64], inside: NDArray[np.bool_], total: int
) -> list[Share]:
    """Return the four-word runs that most rows hold; of a longer phrase only its most frequent run."""
    held = pl.DataFrame({"gram": grams[inside], "row": rows[: len(grams)][inside], "at": np.flatnonzero(inside)})
    counts = held.group_by("gram").agg(pl.col("row").n_unique().alias("rows"), pl.col("at").min())
    counts = counts.filter(pl.col("rows") > 1).sort("rows", "at", descending=[True, False])
    listed: list[Share] = []
    seen: list[tuple[list[str], int]] = []
    for count, at in counts.head(20 * FREQUENT).select("rows", "at").iter_rows():
        run = words[at : at + 4].to_list()
        phrase = any(
            count >= ALIKE * other and (run[1:] == before[:-1] or run[:-1] == before[1:]) for before, other in seen
        )
        seen.append((run, count))
        if not phrase:
            listed.append(Share(name=visible(joined(run)), rows=count, share=count / total))
        if len(listed) == FREQUENT:
            break
    return listed


def embeddings(texts: Sequence[str], pool: Sequence[str] | None = None) -> Embeddings:
    """Embed texts and measure how alike they are.

    ``effective`` is the Vendi score (Friedman and Dieng, 2023): the exponential of the entropy of the eigenvalues of
    the cosine matrix over n; 1 when all texts are the same, n when they have nothing in common.

    Args:
        texts: Texts of the set, at least 2.
        pool: Texts of the pools that the set was drawn from.
    """
    from harness.data import embeddings as model

    vectors = model.embed([*texts, *(pool or ())])
    own, others = vectors[: len(texts)], vectors[len(texts) :]
    alike = own @ own.T
    np.fill_diagonal(alike, -1.0)
    # The n x n cosine matrix and the 384 x 384 matrix of dimensions have the same eigenvalues, but for zeros.
    values = np.linalg.eigvalsh(own.T.astype(np.float64) @ own / len(own))
    values = values[values > 1e-12] / values[values > 1e-12].sum()
    return Embeddings(
        rows=len(texts),
        model=model.identity(),
        nearest=float(alike.max(axis=1).mean()),
        effective=float(np.exp(-(values * np.log(values)).sum())),
        coverage=float((others @ own.T).max(axis=1).mean()) if len(others) else None,
        pool_rows=len(others) or None,
    )
