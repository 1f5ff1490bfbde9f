"""Rows as the model will see them: token ids, and which of them the loss counts.

Uses only the ``tokenizers`` library, so that a plan can count tokens, and a person can look at them, without torch.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import tokenizer
from harness.errors import RequestError
from harness.spec import DATE, OBJECTIVES

if TYPE_CHECKING:
    import polars as pl

    from harness.spec.objectives.base import Form

AT_ONCE = 64  # texts that are counted together; thousands take an eighth longer, since they leave the processor's cache
IGNORED = -100  # the label of a token that the loss does not count, as in torch and transformers


class Unusable(RequestError):
    """Why a row cannot be made into a training sequence."""


@dataclass(frozen=True)
class _Texts:
    """What a row is made into before it is cut into tokens.

    Attributes:
        before: What comes before what is learned; None where all of it is.
        wholes: The same with each answer.
        chat: Whether a chat template made it.
    """

    before: str | None
    wholes: list[str]
    chat: bool = False


@dataclass(frozen=True)
class Encoded:
    """One training sequence.

    Attributes:
        input_ids: Token ids.
        labels: The same ids where the loss counts, ``IGNORED`` elsewhere; same length as ``input_ids``.
        rejected: Of a preference pair, the answer that lost; this one is the answer that won.
        cut: Whether it was longer than it may be, so that the end of an answer is missing.
        ended: Whether the chat template left the last turn open, so that the end of the text was put there.
    """

    input_ids: list[int]
    labels: list[int]
    rejected: Encoded | None = None
    cut: bool = field(default=False, compare=False)
    ended: bool = field(default=False, compare=False)

    @property
    def length(self) -> int:
        """Tokens that go through the model; both answers of a pair."""
        return len(self.input_ids) + (self.rejected.length if self.rejected else 0)

    @property
    def start(self) -> int:
        """Tokens before the first that the loss counts; all of them where it counts none."""
        return next((at for at, label in enumerate(self.labels) if label != IGNORED), len(self.labels))

    @property
    def teaches(self) -> bool:
        """Whether the loss counts a token of it; of a pair, of both answers. The first of all is never predicted."""
        learns = any(label != IGNORED for label in self.labels[1:])
        return learns and (self.rejected is None or self.rejected.teaches)


def table(row_ids: pl.Series, encoded: Sequence[Encoded]) -> pl.DataFrame:
    """Return training sequences as a table: row_id, input_ids, labels, and of pairs rejected_ids, rejected_labels."""
    import polars as pl

    kind = pl.List(pl.Int32)
    return pl.DataFrame(
        {
            "row_id": row_ids,
            "input_ids": pl.Series([one.input_ids for one in encoded], dtype=kind),
            "labels": pl.Series([one.labels for one in encoded], dtype=kind),
            "rejected_ids": pl.Series([one.rejected and one.rejected.input_ids for one in encoded], dtype=kind),
            "rejected_labels": pl.Series([one.rejected and one.rejected.labels for one in encoded], dtype=kind),
        }
    )


def from_table(stored: pl.DataFrame) -> list[Encoded]:
    """Return the training sequences of a table."""
    return [
        Encoded(ids, labels, None if rejected is None else Encoded(rejected, rejected_labels))
        for ids, labels, rejected, rejected_labels in stored.drop("row_id").iter_rows()
    ]


class RowEncoder:
    """Encodes rows with a model's own tokenizer files.

    Args:
        folder: Holds ``tokenizer.json`` and ``tokenizer_config.json`` (and ``chat_template.jinja``).
        chat_template: Render prompt and completion as a conversation through the model's chat template.
        max_length: Longer sequences are cut at the end.
        objective: Name of what rows are for (``harness.spec.objectives``).
        date: What a chat template that asks for the date is told.

    Raises:
        RequestError: When the folder has no fast tokenizer or no end-of-text token, or no chat template where one is
            asked for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        chat_template: bool,
        max_length: int,
        objective: str = "sft",
        date: datetime.date = DATE,
    ) -> None:
        self._tokenizer = tokenizer.read(folder)
        self._specials = tokenizer.special_tokens(folder, self._tokenizer)
        config = tokenizer.json_object(folder, "tokenizer_config.json")
        eos = self._specials["eos_token"]
        if not eos and not (folder / "tokenizer_config.json").is_file():
            raise RequestError(f"{folder}: no tokenizer_config.json, which names the token that ends a row")
        if not eos:
            raise RequestError(f"{folder / 'tokenizer_config.json'}: no eos_token; a row could not say where it ends")
        end = self._tokenizer.token_to_id(eos)
        if end is None:
            raise RequestError(f"{folder}: the eos_token {eos} is no token of tokenizer.json")
        self.eos, self._end = eos, end
        embeddings = tokenizer.embeddings(folder)
        # Where none can be beyond the model's embeddings, none is looked at.
        self._embeddings = embeddings if embeddings and self._tokenizer.get_vocab_size() > embeddings else None
        self._refuse_unknown([end])
        self._stops = tokenizer.stops(folder, self._tokenizer)
        self.objective, self.max_length, self.as_chat = OBJECTIVES[objective], max_length, chat_template
        # What can make more tokens than a text has bytes: tokens put before it, and rewriting of what is not ASCII.
        self.begins = self._tokenizer.num_special_tokens_to_add(False)
        self.rewrites = self._tokenizer.normalizer is not None
        self._template = _template(folder, config, date)
        if chat_template and self._template is None:
            raise RequestError(f"{folder}: the recipe asks for chat_template, but the model has none")

    def encode(self, row: Mapping[str, Any]) -> Encoded:
        """Encode one row (canonical columns).

        The completion starts where the tokens of the prompt alone and of prompt plus completion diverge, as in TRL.

        Raises:
            Unusable: When the row has no content that the objective can use.
        """
        try:
            return self._encoded(row)
        except Unusable as error:
            raise Unusable(f"{named(row)}: {error}") from error

    def unusable(self, row: Mapping[str, Any]) -> str | None:
        """Return why a row cannot be trained on, however long it may be; None where it can."""
        if blank := self._blank(row):
            return f"{blank} is empty"
        try:
            self._encoded(row)
        except Unusable as error:
            return str(error)
        return None

    def cut_off(self, row: Mapping[str, Any]) -> str | None:
        """Return how much comes before what would be learned of a row, where nothing of that is left when it is cut.

        Raises:
            Unusable: When the row has no content that the objective can use.
        """
        return None if self._encoded(row).teaches else self.too_much(row, *self.sizes([self.before(row)]))

    def too_much(self, row: Mapping[str, Any], size: int) -> str:
        """Say that a text of some tokens before an answer is too long."""
        return (
            f"nothing is left to learn: {size + self.begins_with(row):,} tokens come before its answer, and "
            f"recipe.max_length is {self.max_length:,}"
        )

    def begins_with(self, row: Mapping[str, Any]) -> int:
        """Return how many tokens the tokenizer puts before a row; a chat template puts its own."""
        return 0 if row.get("messages") or self.as_chat else self.begins

    def before(self, row: Mapping[str, Any]) -> str:
        """Return the text that comes before what is learned of a row; its answer is not looked at.

        Raises:
            Unusable: When the row has no content that the objective can use.
        """
        return self._texts(row, answered=False).before or ""

    def unknown(self) -> list[str]:
        """Return the tokens that were added to the tokenizer, but not to the model."""
        if self._embeddings is None:
            return []
        ids = range(self._embeddings, self._tokenizer.get_vocab_size())
        return [token for one in ids if (token := self._tokenizer.id_to_token(one))]

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of tokens of many texts, without what the tokenizer may put before each."""
        found: list[int] = []
        for start in range(0, len(texts), AT_ONCE):
            some = list(texts[start : start + AT_ONCE])
            found += map(len, self._tokenizer.encode_batch_fast(some, add_special_tokens=False))
        return found

    def text(self, ids: list[int]) -> str:
        """Return token ids as text, special tokens included, for people to look at."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def _blank(self, row: Mapping[str, Any]) -> str | None:
        """Return what a row says nothing with; None where it says something, or is to be refused for another reason."""
        form = self._fitting(row) or self.objective.forms[-1]
        if form.answers:
            said = row.get(form.answers[0])
        else:
            last = (json.loads(row.get("messages") or "[]") or [{}])[-1]
            said = last.get("content") if last.get("role") == "assistant" else None
        return form.called if said is not None and not said.replace(self.eos, "").strip() else None

    def _fitting(self, row: Mapping[str, Any]) -> Form | None:
        """Return the first form that a row's columns fit."""
        fitting = (form for form in self.objective.forms if all(row.get(column) is not None for column in form.columns))
        return next(fitting, None)

    def _encoded(self, row: Mapping[str, Any]) -> Encoded:
        texts = self._texts(row)
        special = not texts.chat
        wholes = [self._ids(whole, special=special) for whole in texts.wholes]
        start = 0
        if texts.before is not None:
            before = self._ids(texts.before, special=special)
            # Both answers of a pair start where either leaves what comes before them.
            start = min(_common(before, whole) for whole in wholes)
        # Some templates end a turn with the next one: then nothing would say where the last one stops.
        opened = [texts.chat and self._stops.isdisjoint(whole[start:]) for whole in wholes]
        most = None if self.objective.packed else self.max_length
        start = 0 if self.objective.prompts else start
        won, *lost = (
            _learned(start, [*whole, self._end] if open_ else whole, most)
            for whole, open_ in zip(wholes, opened, strict=True)
        )
        cut = any(one.cut for one in (won, *lost))
        return Encoded(won.input_ids, won.labels, lost[0] if lost else None, cut, any(opened))

    def _texts(self, row: Mapping[str, Any], *, answered: bool = True) -> _Texts:
        """Say what a row is made into, or only what comes before its answer."""
        for column, why in self.objective.refused.items():
            if row.get(column) is not None:
                raise Unusable(why.format(objective=self.objective.name))
        form, prompt = self._fitting(row), row.get("prompt") or ""
        if form is None:
            raise Unusable(f"objective {self.objective.name} needs {self.objective.needs}")
        answers = [str(row[column]) for column in form.answers]
        if form.before is None:
            return _Texts(None, [self._ended(answer) for answer in answers])
        if form.before == "prompt" and not self.as_chat:
            return _Texts(prompt, [prompt + self._ended(answer) for answer in answers])
        self._need_template()
        turns = json.loads(row["messages"]) if form.before == "messages" else [{"role": "user", "content": prompt}]
        if not answers:
            *turns, last = turns or [{}]
            if last.get("role") != "assistant":
                raise Unusable("the last message is not the assistant's")
            answers = [str(last["content"])]
        before = self._render(turns, add_generation_prompt=True)
        wholes = ([*turns, {"role": "assistant", "content": answer}] for answer in answers if answered)
        return _Texts(before, [self._render(one, add_generation_prompt=False) for one in wholes], chat=True)

    def _need_template(self) -> None:
        if self._template is None:
            raise Unusable("rows with messages need a model with a chat template")

    def _ended(self, text: str) -> str:
        return text if text.endswith(self.eos) else text + self.eos

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        names = {name: text or "" for name, text in self._specials.items()}
        try:
            # As transformers does, which names tools and documents even where there are none.
            text: str = self._template.render(
                messages, tools=None, documents=None, add_generation_prompt=add_generation_prompt, **names
            )
        except Exception as error:  # a template can fail like any program
            from harness.templates import failed

            raise Unusable(failed(error)) from error
        return text

    def _ids(self, text: str, *, special: bool = True) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        self._refuse_unknown(ids)
        return ids

    def _refuse_unknown(self, ids: list[int]) -> None:
        """Refuse ids that were added to a tokenizer, but not to its model."""
        if self._embeddings is not None and ids and max(ids) >= self._embeddings:
            token = self._tokenizer.id_to_token(max(ids))
            raise Unusable(
                f"the token {token} has the id {max(ids):,}, and the model has embeddings for {self._embeddings:,} ids"
            )


def _common(one: list[int], other: list[int]) -> int:
    """Return how many ids two lists share at the start."""
    limit = min(len(one), len(other))
    return next((at for at in range(limit) if one[at] != other[at]), limit)


def _learned(start: int, whole: list[int], most: int | None) -> Encoded:
    """Return a sequence that is learned from a position on, cut where it is too long."""
    return Encoded(whole[:most], ([IGNORED] * start + whole[start:])[:most], cut=most is not None and len(whole) > most)


def named(row: Mapping[str, Any]) -> str:
    """Return where a row was read, else whose it is."""
    place = json.loads(row["meta"]).get("place") if row.get("meta") else None
    return str(place) if place else f"{row.get('source')} row {row.get('row_id')}"


def _template(folder: Path, config: dict[str, Any], date: datetime.date) -> Any:
    """Compile the chat template the way transformers does: sandboxed, blocks trimmed.

    Templates may ask for the date (``strftime_now``), and are told the same one every day: what a row is made into must
    not change from day to day.
    """
    path = folder / "chat_template.jinja"
    try:
        source = path.read_text(encoding="utf-8") if path.is_file() else config.get("chat_template")
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    if isinstance(source, list):  # several named templates
        named = [one for one in source if isinstance(one, dict)]
        source = next((one.get("template") for one in named if one.get("name") == "default"), None)
    if not isinstance(source, str):
        return None
    from jinja2 import TemplateError

    from harness import templates

    try:
        return templates.compiled(source, date)
    except TemplateError as error:
        raise RequestError(f"{folder}: the model's chat template cannot be read: {error}") from error
