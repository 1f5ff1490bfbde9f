"""Quality filters of datatrove, by name; only those that need no network.

A filter decides about a row as a whole: ``c4_quality``, which in datatrove also deletes lines, only drops rows here.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import polars as pl

from harness.data.operations.context import which
from harness.errors import RequestError, did_you_mean

FILTERS = {
    "gopher_quality": "GopherQualityFilter",
    "gopher_repetition": "GopherRepetitionFilter",
    "c4_quality": "C4QualityFilter",
    "c4_paragraph": "C4ParagraphFilter",
    "fineweb_quality": "FineWebQualityFilter",
}
OTHERS = {
    "c4_badwords": "downloads its word lists; use exclude with words of your own",
    "language": "downloads its model; use languages",
    "fasttext": "downloads its model",
    "unigram_log_prob": "downloads its word frequencies",
    "url": "needs addresses, which rows do not have",
    "regex": "is the same as exclude",
    "sampler": "draws other rows for every arm; use the operation sample",
}


def poor(rows: pl.DataFrame, texts: pl.Series, name: str, settings: Mapping[str, Any], whose: str) -> pl.Series:
    """Return, for each text, why datatrove's filter drops it, or null.

    Args:
        rows: The rows the texts are of, for messages.
        texts: One text per row.
        name: One of ``FILTERS``.
        settings: Arguments of the filter.
        whose: Place and operation, for messages.

    Raises:
        RequestError: Unknown filter or setting, a value the filter cannot use, or datatrove is not installed.
    """
    reasons: list[str | None] = []
    with _without_torch():
        judge, document = _filter(name, settings, whose)
        for position, text in enumerate(texts):
            if not text.strip():  # several of the filters divide by the number of words
                reasons.append(f"{name}: empty")
                continue
            try:
                answer = judge.filter(document(text=text, id=str(position)))
            except Exception as error:  # a setting that does not fit may raise anything
                row = which(rows.row(position, named=True))
                raise RequestError(f"{whose}: {row}: {name} fails ({type(error).__name__}: {error})") from error
            passed, why = answer if isinstance(answer, tuple) else (answer, None)
            reasons.append(None if passed else f"{name}: {why or 'refused'}")
    return pl.Series(reasons, dtype=pl.String)


def _filter(name: str, settings: Mapping[str, Any], whose: str) -> tuple[Any, Any]:
    """Return the filter, and the class of the documents it reads."""
    if name in OTHERS:
        raise RequestError(f"{whose}: datatrove's {name} {OTHERS[name]}. Valid here: {', '.join(sorted(FILTERS))}.")
    if name not in FILTERS:
        raise RequestError(f'{whose}: no datatrove filter "{name}".{did_you_mean(name, FILTERS)}')
    try:
        import spacy  # noqa: F401  # the English tokenizer is its blank model
        from datatrove.data import Document
        from datatrove.pipeline import filters
    except ImportError as error:
        raise RequestError(f"{whose}: {name} needs datatrove and spacy: pip install datatrove spacy") from error

    kind = getattr(filters, FILTERS[name])
    known = {n: p.default for n, p in inspect.signature(kind).parameters.items() if n != "exclusion_writer"}
    for setting, value in settings.items():
        if setting not in known:
            raise RequestError(f'{whose}: {name} has no setting "{setting}".{did_you_mean(setting, known)}')
        if not _fits(value, known[setting]):
            raise RequestError(f"{whose}: {name}: {setting} is like {known[setting]!r}, not {value!r}")
    judge = kind(**{setting: _tuples(value) for setting, value in settings.items()})
    try:
        judge.filter(Document(text="A sentence to try the tokenizer of this language.", id=""))
    except Exception as error:
        raise RequestError(f"{whose}: {name} refuses its settings ({type(error).__name__}: {error})") from error
    return judge, Document


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int | float):
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    if isinstance(default, str):
        return isinstance(value, str)
    return value is None or isinstance(value, list | tuple)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list | tuple) else value


@contextmanager
def _without_torch() -> Iterator[None]:
    """Keep torch from being imported: thinc, on which spacy is built, imports it if it is installed.

    The tokenizer of spacy's blank models does not use torch, and planning a study must not wait for it.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        yield
    finally:
        del sys.modules["torch"]
