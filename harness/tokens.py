"""Rows as the model will see them: token ids, and which of them the loss counts.

Uses only the ``tokenizers`` library, so that a plan can count tokens, and a person can look at them, without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import RequestError

IGNORED = -100  # the label of a token that the loss does not count, as in torch and transformers


@dataclass(frozen=True)
class Encoded:
    """One training sequence.

    Attributes:
        input_ids: Token ids.
        labels: The same ids where the loss counts, ``IGNORED`` elsewhere; same length as ``input_ids``.
    """

    input_ids: list[int]
    labels: list[int]


class RowEncoder:
    """Encodes rows with a model's own tokenizer files.

    Args:
        folder: Holds ``tokenizer.json`` and ``tokenizer_config.json`` (and ``chat_template.jinja``).
        chat_template: Render prompt and completion as a conversation through the model's chat template.
        max_length: Longer sequences are cut at the end.

    Raises:
        RequestError: When the folder has no fast tokenizer or no end-of-text token, or no chat template where one is
            asked for.
    """

    def __init__(self, folder: Path, *, chat_template: bool, max_length: int) -> None:
        from tokenizers import Tokenizer

        if not (folder / "tokenizer.json").is_file():
            raise RequestError(f"{folder}: no tokenizer.json; the harness needs a model with a fast tokenizer")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if not (folder / "tokenizer_config.json").is_file():
            raise RequestError(f"{folder}: no tokenizer_config.json, which names the token that ends a row")
        config = json.loads((folder / "tokenizer_config.json").read_text())
        self._specials = {name: _content(config.get(name)) for name in ("bos_token", "eos_token", "pad_token")}
        eos = self._specials["eos_token"]
        if not eos:
            raise RequestError(f"{folder / 'tokenizer_config.json'}: no eos_token; a row could not say where it ends")
        self.eos = eos
        self._as_chat = chat_template
        self._max_length = max_length
        self._template = _template(folder, config)
        if chat_template and self._template is None:
            raise RequestError(f"{folder}: the recipe asks for chat_template, but the model has none")

    def encode(self, row: Mapping[str, Any]) -> Encoded:
        """Encode one row (canonical columns).

        The completion starts where the tokens of the prompt alone and of prompt plus completion diverge, as in TRL.

        Raises:
            RequestError: When the row has no content that supervised fine-tuning can use.
        """
        if row.get("messages"):
            return self._conversation(json.loads(row["messages"]), row)
        if row.get("completion") is not None:
            prompt, completion = row.get("prompt") or "", row["completion"]
            if self._as_chat:
                turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
                return self._conversation(turns, row)
            return self._completion(self._ids(prompt), self._ids(prompt + self._ended(completion)))
        if row.get("text"):
            ids = self._ids(self._ended(row["text"]))[: self._max_length]
            return Encoded(ids, list(ids))
        raise RequestError(
            f"{row.get('source')} row {row.get('row_id')}: objective sft needs prompt and completion, messages or text"
        )

    def text(self, ids: list[int]) -> str:
        """Return token ids as text, special tokens included, for people to look at."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def _ended(self, text: str) -> str:
        return text if text.endswith(self.eos) else text + self.eos

    def _conversation(self, messages: list[dict[str, str]], row: Mapping[str, Any]) -> Encoded:
        if self._template is None:
            raise RequestError(f"{row.get('source')}: rows with messages need a model with a chat template")
        if not messages or messages[-1].get("role") != "assistant":
            raise RequestError(f"{row.get('source')} row {row.get('row_id')}: the last message is not the assistant's")
        prompt = self._render(messages[:-1], add_generation_prompt=True)
        whole = self._render(messages, add_generation_prompt=False)
        return self._completion(self._ids(prompt, special=False), self._ids(whole, special=False))

    def _completion(self, prompt: list[int], whole: list[int]) -> Encoded:
        start = 0
        while start < min(len(prompt), len(whole)) and prompt[start] == whole[start]:
            start += 1
        labels = [IGNORED] * start + whole[start:]
        return Encoded(whole[: self._max_length], labels[: self._max_length])

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        names = {name: text or "" for name, text in self._specials.items()}
        try:
            text: str = self._template.render(messages=messages, add_generation_prompt=add_generation_prompt, **names)
        except TemplateError as error:
            raise RequestError(f"the model's chat template cannot be used: {error}") from error
        return text

    def _ids(self, text: str, *, special: bool = True) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        return ids


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _template(folder: Path, config: dict[str, Any]) -> Any:
    """Compile the chat template the way transformers does: sandboxed, blocks trimmed.

    ``strftime_now`` is left out on purpose: what a row is made into must not change from day to day.
    """
    path = folder / "chat_template.jinja"
    source = path.read_text() if path.is_file() else config.get("chat_template")
    if isinstance(source, list):  # several named templates
        source = next((one["template"] for one in source if one["name"] == "default"), None)
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
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise RequestError(f"{folder}: the model's chat template cannot be read: {error}") from error


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _refuse(message: str) -> None:
    raise RequestError(f"the model's chat template refuses a row: {message}")
