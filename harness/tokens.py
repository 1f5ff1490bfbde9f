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
from harness.spec import DATE

if TYPE_CHECKING:
    import polars as pl

IGNORED = -100  # the label of a token that the loss does not count, as in torch and transformers


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
        objective: What rows are for: ``sft``, ``text`` (never cut: rows are packed) or ``dpo``.
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
        if not eos and not config:
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
        self._as_chat, self._objective = chat_template, objective
        self._max_length = max_length
        self._template = _template(folder, config, date)
        if chat_template and self._template is None:
            raise RequestError(f"{folder}: the recipe asks for chat_template, but the model has none")

    def encode(self, row: Mapping[str, Any]) -> Encoded:
        """Encode one row (canonical columns).

        The completion starts where the tokens of the prompt alone and of prompt plus completion diverge, as in TRL.

        Raises:
            RequestError: When the row has no content that the objective can use.
        """
        if self._objective == "dpo":
            return self._pair(row)
        if self._objective == "text":
            if not row.get("text"):
                raise RequestError(f"{_named(row)}: objective text needs text")
            ids = self._ids(self._ended(row["text"]))
            return Encoded(ids, list(ids))
        if row.get("chosen") is not None:
            raise RequestError(f"{_named(row)}: it is a preference pair, which objective sft cannot use; use dpo")
        if row.get("messages"):
            return self._conversation(json.loads(row["messages"]), row)
        if row.get("completion") is not None:
            prompt, completion = row.get("prompt") or "", row["completion"]
            if self._as_chat:
                turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
                return self._conversation(turns, row)
            return self._completion(self._ids(prompt), self._ids(prompt + self._ended(completion)))
        if row.get("text"):
            return self._learned(0, self._ids(self._ended(row["text"])))
        raise RequestError(f"{_named(row)}: objective sft needs prompt and completion, messages or text")

    def text(self, ids: list[int]) -> str:
        """Return token ids as text, special tokens included, for people to look at."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def _pair(self, row: Mapping[str, Any]) -> Encoded:
        """Encode a preference pair: both answers start where either diverges from the prompt alone, as in TRL."""
        if row.get("chosen") is None or row.get("rejected") is None:
            raise RequestError(f"{_named(row)}: objective dpo needs prompt, chosen and rejected")
        turns = json.loads(row["messages"]) if row.get("messages") else None  # the conversation so far
        prompt = row.get("prompt") or ""
        if turns is None and self._as_chat:
            turns = [{"role": "user", "content": prompt}]
        if turns is not None:
            if self._template is None:
                raise RequestError(f"{row.get('source')}: rows with messages need a model with a chat template")
            before = self._ids(self._render(turns, add_generation_prompt=True), special=False)
            answered = [[*turns, {"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")]
            wholes = [self._ids(self._render(one, add_generation_prompt=False), special=False) for one in answered]
            start = min(_common(before, whole) for whole in wholes)
            opened = [self._open(whole[start:]) for whole in wholes]
            wholes = [[*whole, self._end] if open_ else whole for whole, open_ in zip(wholes, opened, strict=True)]
        else:
            before = self._ids(prompt)
            wholes = [self._ids(prompt + self._ended(row[side])) for side in ("chosen", "rejected")]
            start = min(_common(before, whole) for whole in wholes)
            opened = [False, False]
        won, lost = (self._learned(start, whole) for whole in wholes)
        return Encoded(won.input_ids, won.labels, lost, won.cut or lost.cut, any(opened))

    def _learned(self, start: int, whole: list[int], *, ended: bool = False) -> Encoded:
        """Return a sequence that is learned from a position on, cut at the maximum length."""
        labels, most = [IGNORED] * start + whole[start:], self._max_length
        return Encoded(whole[:most], labels[:most], cut=len(whole) > most, ended=ended)

    def _open(self, answer: list[int]) -> bool:
        """Tell whether an answer has no token at which a model stops: some templates end a turn with the next one."""
        return self._stops.isdisjoint(answer)

    def _ended(self, text: str) -> str:
        return text if text.endswith(self.eos) else text + self.eos

    def _conversation(self, messages: list[dict[str, str]], row: Mapping[str, Any]) -> Encoded:
        if self._template is None:
            raise RequestError(f"{row.get('source')}: rows with messages need a model with a chat template")
        if not messages or messages[-1].get("role") != "assistant":
            raise RequestError(f"{row.get('source')} row {row.get('row_id')}: the last message is not the assistant's")
        prompt = self._render(messages[:-1], add_generation_prompt=True)
        whole = self._render(messages, add_generation_prompt=False)
        before, ids = self._ids(prompt, special=False), self._ids(whole, special=False)
        start = _common(before, ids)
        ended = self._open(ids[start:])
        return self._learned(start, [*ids, self._end] if ended else ids, ended=ended)

    def _completion(self, prompt: list[int], whole: list[int]) -> Encoded:
        return self._learned(_common(prompt, whole), whole)

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        names = {name: text or "" for name, text in self._specials.items()}
        try:
            # As transformers does, which names tools and documents even where there are none.
            text: str = self._template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=add_generation_prompt, **names
            )
        except RequestError:
            raise
        except Exception as error:  # a template can fail like any program
            raise RequestError(f"the model's chat template cannot be used: {error}") from error
        return text

    def _ids(self, text: str, *, special: bool = True) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        self._refuse_unknown(ids)
        return ids

    def _refuse_unknown(self, ids: list[int]) -> None:
        """Refuse ids that were added to a tokenizer, but not to its model."""
        if self._embeddings is not None and ids and max(ids) >= self._embeddings:
            token = self._tokenizer.id_to_token(max(ids))
            raise RequestError(
                f"the token {token} has the id {max(ids):,}, and the model has embeddings for {self._embeddings:,} ids"
            )


def _common(one: list[int], other: list[int]) -> int:
    """Return how many ids two lists share at the start."""
    limit = min(len(one), len(other))
    return next((at for at in range(limit) if one[at] != other[at]), limit)


def _named(row: Mapping[str, Any]) -> str:
    return f"{row.get('source')} row {row.get('row_id')}"


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
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Reads ``{% generation %}``, with which templates mark the assistant's part, as the part itself."""

        tags = {"generation"}

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    extensions: list[Any] = [loopcontrols, Generation]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = datetime.datetime(date.year, date.month, date.day).strftime
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise RequestError(f"{folder}: the model's chat template cannot be read: {error}") from error


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _refuse(message: str) -> None:
    raise RequestError(f"the model's chat template refuses a row: {message}")
