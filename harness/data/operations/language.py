"""The language of texts, offline (py3langid: naive Bayes over byte n-grams, 97 languages)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from harness.errors import RequestError, did_you_mean

NO_LANGUAGE = "zxx"  # ISO 639-2: no linguistic content


def foreign(texts: pl.Series, languages: Sequence[str], whose: str) -> pl.Series:
    """Return, for each text, its language as the reason if that is not among those to keep, or null.

    A text that shows no language (numbers, a formula, a lone name) passes.

    Args:
        texts: The whole text of each row.
        languages: The languages to keep, as ISO 639-1 codes.
        whose: Place and operation, for messages.

    Raises:
        RequestError: The model does not know one of the languages, or the library is not installed.
    """
    try:
        from py3langid import langid
    except ImportError as error:
        raise RequestError(f"{whose}: telling languages needs py3langid: pip install py3langid") from error

    langid.classify("")  # loads the model
    known = {str(code) for code in langid.IDENTIFIER.labels} - {NO_LANGUAGE}
    for code in languages:
        if code not in known:
            raise RequestError(f'{whose}: "{code}" is not a language code of ISO 639-1.{did_you_mean(code, known)}')
    kept = {*languages, NO_LANGUAGE}
    reasons: list[str | None] = []
    for text in texts:
        code, score = langid.classify(text)
        reasons.append(None if code in kept or score <= langid.RAW_FLOOR else f"language {code}")
    return pl.Series(reasons, dtype=pl.String)
