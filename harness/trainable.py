"""Whether a model can learn from a row: the one place where that is decided, for all rows of a pool.

``RowEncoder`` tells it of one row, by encoding it (``unusable``, ``cut_off``). A pool may have a million, so rows are
sorted out first, many at a time: whoever plainly says something, in a way that the chat template takes, and is asked
something that is short enough, teaches. Only the others are encoded.

A text has no more tokens than bytes, so what is shorter than ``max_length`` in bytes is short enough; of the others the
tokens before the answer are counted. Whether a template refuses a conversation is asked once for each order of roles:
a template that refuses by what is said is met when the rows that are drawn are encoded, and then every row is
(``every``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any

from harness.tokens import Unusable

if TYPE_CHECKING:
    import polars as pl

    from harness.spec.objectives.base import Form
    from harness.tokens import RowEncoder

SAYS_SOMETHING = r"[^\s\x1c-\x1f]"  # a character that Python's str.strip leaves
BATCH = 4096  # rows whose prompts are counted at a time
SPARE = 16  # tokens; what a tokenizer may put at the borders of a text
REWRITTEN = 3  # times the bytes, at most, that are left of a character when it is normalized, as text goes
MOST_GROWN = 6.0  # times the bytes of a character, written as \\uXXXX
TEXTS = ("prompt", "completion", "chosen", "rejected", "text", "messages")
PLAIN, HOSTILE = "x" * 50, '"\\\n\t<&é\U0001f600' * 10  # what templates that quote what is said make longer


def unusable(encoder: RowEncoder, rows: pl.DataFrame, *, every: bool = False) -> pl.Series:
    """Return why each row cannot be trained on, however long it may be; null where it can.

    Args:
        encoder: Makes rows into token ids as they would be trained on.
        rows: Canonical columns.
        every: Whether to encode all of them, which takes long.
    """
    doubtful = rows.height * [True] if every else ~_facts(encoder, rows).fine
    return _asked(rows, doubtful, encoder.unusable)


def cut_off(encoder: RowEncoder, rows: pl.DataFrame, *, every: bool = False) -> pl.Series:
    """Return how much comes before what would be learned of each row, where nothing of that is left when it is cut.

    Args:
        encoder: As in ``unusable``.
        rows: Rows that can be trained on.
        every: As in ``unusable``.
    """
    import polars as pl

    if every or encoder.objective.packed:  # then nothing is cut
        return _asked(rows, rows.height * [every], encoder.cut_off)
    facts = _facts(encoder, rows)
    long = (facts.answers & (facts.lengths + encoder.begins + SPARE >= encoder.max_length)).arg_true()
    doubtful, sure = set((~facts.fine).arg_true()), dict[int, str]()
    for start in range(0, len(long), BATCH):
        some = long[start : start + BATCH]
        asked = [
            (at, row, _before(encoder, row)) for at, row in zip(some, rows[some].iter_rows(named=True), strict=True)
        ]
        sizes = encoder.sizes([text or "" for _, _, text in asked])
        for (at, row, text), size in zip(asked, sizes, strict=True):
            over = size + encoder.begins_with(row) - encoder.max_length
            if text is None or 0 <= over <= _border(text):
                doubtful.add(at)
            elif over > 0:
                sure[at] = encoder.too_much(row, size)
    told = _asked(rows, [at in doubtful for at in range(rows.height)] if doubtful else [], encoder.cut_off)
    return told.scatter(list(sure), pl.Series(list(sure.values()), dtype=pl.String)) if sure else told


def _asked(
    rows: pl.DataFrame, which: Sequence[bool] | pl.Series, ask: Callable[[dict[str, Any]], str | None]
) -> pl.Series:
    """Ask about some rows, one by one."""
    import polars as pl

    found = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    at = pl.Series(which, dtype=pl.Boolean).arg_true()
    said = [ask(row) for row in rows[at].iter_rows(named=True)]
    return found.scatter(at, pl.Series(said, dtype=pl.String))


def _before(encoder: RowEncoder, row: dict[str, Any]) -> str | None:
    try:
        return encoder.before(row)
    except Unusable:
        return None


def _border(text: str) -> int:
    """Return how many tokens at the end of a text may become others when more text follows: those of its last word."""
    last = text.rsplit(None, 1)[-1:]
    return sum(len(part.encode()) for part in (*last, text[len(text.rstrip()) :])) + 1


@dataclass(frozen=True)
class _Facts:
    """What is known of rows without encoding them.

    Attributes:
        fine: Whether each can be trained on, beyond doubt.
        answers: Whether it is one of these, and something comes before what is learned.
        lengths: The most bytes that come before it.
    """

    fine: pl.Series
    answers: pl.Series
    lengths: pl.Series


def _facts(encoder: RowEncoder, rows: pl.DataFrame) -> _Facts:
    import polars as pl

    objective = encoder.objective
    saying = {form.answers[0] for form in objective.forms if form.answers}
    says = rows.select(_says(encoder, pl.col(name)).fill_null(False) for name in saying)
    lengths = rows["prompt"].str.len_bytes().fill_null(0).cast(pl.Float64)
    sure = answers = pl.repeat(False, rows.height, eager=True)
    left = reduce(and_, (rows[name].is_null() for name in objective.refused), ~sure)
    for form in objective.forms:
        fits = reduce(and_, (rows[name].is_not_null() for name in form.columns), left)
        left, size = left & ~fits, lengths
        fine = fits & says[form.answers[0]] if form.answers else fits
        if form.before == "messages":
            fine, size = _conversations(encoder, rows, fine, form)
        elif form.before and encoder.as_chat:  # prompt and answer are a conversation of one turn
            fine, size = _turns(encoder, rows, fine, form, lengths)
        sure, lengths = sure | fine, size.zip_with(fine, lengths)
        if form.before and not objective.prompts:
            answers = answers | fine
    known = ~_with(rows, encoder.unknown())
    if encoder.rewrites:
        plain = [(c.str.len_bytes() == c.str.len_chars()).fill_null(True) for c in map(pl.col, ("prompt", "messages"))]
        lengths = lengths * rows.select(pl.when(pl.all_horizontal(plain)).then(1.0).otherwise(REWRITTEN)).to_series()
    return _Facts(sure & known, answers & known, lengths)


def _says(encoder: RowEncoder, text: pl.Expr) -> pl.Expr:
    """Tell whether a text is more than white space and the token that ends it anyway."""
    return text.str.replace_all(encoder.eos, "", literal=True).str.contains(SAYS_SOMETHING)


def _conversations(
    encoder: RowEncoder, rows: pl.DataFrame, talks: pl.Series, form: Form
) -> tuple[pl.Series, pl.Series]:
    """Return which conversations end in an answer that says something, with roles that the template takes.

    Returns:
        That, and the most bytes that come before the answer.
    """
    import polars as pl

    none = pl.repeat(False, rows.height, eager=True), pl.repeat(0.0, rows.height, dtype=pl.Float64, eager=True)
    if not talks.any():
        return none
    kind = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    try:
        read = rows.select(turns=pl.when(talks).then(pl.col("messages")).str.json_decode(kind))
    except pl.exceptions.PolarsError:  # messages that hold something else: each is looked at
        return none
    roles, contents = (pl.element().struct.field(name) for name in ("role", "content"))
    last = pl.col("turns").list.last().struct
    size = pl.col("turns").list.eval(contents.str.len_bytes()).list.sum()
    answered = not form.answers  # the answer is the last turn
    facts = read.select(
        pl.col("turns").list.eval(roles).list.join(" ").alias("roles"),
        (size - last.field("content").str.len_bytes() if answered else size)
        .cast(pl.Float64)
        .fill_null(0)
        .alias("size"),
        (_says(encoder, last.field("content")) & (last.field("role") == "assistant") if answered else talks)
        .fill_null(False)
        .alias("fine"),
    ).with_row_index("at")
    first = facts.filter("fine").unique("roles", keep="first", maintain_order=True)
    taken = [
        {"roles": one["roles"], **_bounds(encoder, rows.row(one["at"], named=True), form)}
        for one in first.iter_rows(named=True)
    ]
    known = pl.DataFrame(taken, {"roles": pl.String, "taken": pl.Boolean, "around": pl.Float64, "times": pl.Float64})
    joined = facts.join(known, on="roles", how="left", maintain_order="left")
    joined = joined.select(
        fine=pl.col("fine") & pl.col("taken").fill_null(False),
        size=(pl.col("around") + pl.col("times") * pl.col("size")).fill_null(0),
    )
    return joined["fine"], joined["size"]


def _turns(
    encoder: RowEncoder, rows: pl.DataFrame, asked: pl.Series, form: Form, lengths: pl.Series
) -> tuple[pl.Series, pl.Series]:
    """Return the same for prompts and answers that are made into conversations of one turn."""
    at = asked.arg_true()
    if not len(at):
        return asked, lengths
    bounds = _bounds(encoder, rows.row(at[0], named=True), form)
    return asked & bounds["taken"], lengths * bounds["times"] + bounds["around"]


def _bounds(encoder: RowEncoder, row: dict[str, Any], form: Form) -> dict[str, Any]:
    """Say what a chat template does to conversations whose roles are those of a row.

    Returns:
        Whether they are ``taken``; how many bytes are put ``around`` what comes before the answer, and how many
        ``times`` longer that may become, at most.
    """
    if encoder.unusable(row) is not None:
        return {"taken": False, "around": 0.0, "times": 1.0}
    turns = max(1, len(json.loads(row["messages"])) - (not form.answers)) if form.before == "messages" else 1
    around = max(0, _size(encoder, row, PLAIN) - turns * len(PLAIN.encode()))
    try:
        grown = (_size(encoder, row, HOSTILE) - around) / (turns * len(HOSTILE.encode()))
    except Unusable:  # it refuses by what is said
        grown = MOST_GROWN
    return {"taken": True, "around": float(around), "times": max(1.0, grown)}


def _size(encoder: RowEncoder, row: dict[str, Any], said: str) -> int:
    """Return how many bytes come before the answer where all that is said in a row is something else."""
    changed = {name: said for name in ("prompt", "completion", "chosen", "rejected") if row[name] is not None}
    if row["messages"]:
        turns = [{**turn, "content": said} for turn in json.loads(row["messages"])]
        changed["messages"] = json.dumps(turns)
    return len(encoder.before(row | changed).encode())


def _with(rows: pl.DataFrame, tokens: list[str]) -> pl.Series:
    """Return which rows may hold one of some tokens."""
    import polars as pl

    if not tokens:
        return pl.repeat(False, rows.height, eager=True)
    held = [pl.col(name).str.contains_any(tokens) for name in TEXTS]
    odd = pl.col("messages").str.contains("\\", literal=True)  # in JSON it may be spelled in another way
    return rows.select(pl.any_horizontal(one.fill_null(False) for one in (*held, odd))).to_series()
