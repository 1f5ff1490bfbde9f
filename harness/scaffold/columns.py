"""Which column of a file is what: canonical fields, guessed from names and from a look at the values."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.data import layouts
from harness.data.conversations import is_conversation, transcript
from harness.data.generators import number
from harness.data.layouts import plain as _plain
from harness.errors import RequestError, did_you_mean
from harness.records import CONTENT_COLUMNS
from harness.spec import DRAFTED
from harness.unpacking import printable

# Names in the order they are looked for, without case, spaces, underscores and hyphens.
MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
PROMPT = (
    "prompt", "question", "query", "instruction", "problem", "request", "ask", "usermessage", "user", "human",
    "input", "inputs", "inputtext", "ticket", "title", "source",
)  # fmt: skip
COMPLETION = (
    "completion", "response", "output", "outputs", "answer", "correctanswer", "reply", "assistant", "solution",
    "target", "targets", "outputtext", "targettext", "summary", "result",
)  # fmt: skip
CHOSEN = ("chosen", "preferred", "accepted", "better", "win", "winner")
REJECTED = ("rejected", "dispreferred", "worse", "lose", "loser")
TEXT = ("text", "content", "body", "document", "article", "passage", "story", "sentence", "review", "message")
LABEL = ("label", "labels", "category", "class", "sentiment", "intent", "tag", "topic")
ANSWER = ("answer", "finalanswer", "result", "gold", "target", "label", "solution", "expected")
GROUP = (
    "group", "groupid", "conversationid", "threadid", "sessionid", "userid", "customerid", "documentid", "docid",
    "articleid", "pageid", "caseid", "ticketid", "author", "url",
)  # fmt: skip
SLICE = (
    "slice", "category", "type", "topic", "intent", "difficulty", "level", "subject", "domain", "task", "product",
    "language", "lang", "grade", "label", "kind", "tag", "channel", "department",
)  # fmt: skip
LICENSE = ("license", "licence")
MOST_LABELS = 12  # different values that still look like labels or slices, not like answers


@dataclass
class Columns:
    """How a file's columns become rows.

    Attributes:
        fields: Canonical field -> column or template, as a study writes it.
        notes: What was assumed, in words.
        optional: Columns of templates that a row may lack.
        left_out: Columns that are in no field.
    """

    fields: dict[str, str]
    notes: list[str] = field(default_factory=list)
    optional: tuple[str, ...] = ()
    left_out: list[str] = field(default_factory=list)


def mapped(
    records: Sequence[Mapping[str, Any]], place: str, declared: Mapping[str, str], known: Columns | None = None
) -> Columns:
    """Return the fields of a file.

    Args:
        records: Records that show which columns there are, at least one.
        place: Where the first is.
        declared: Fields the user gave; they count before anything that is guessed.
        known: What a description beside the file says.

    Raises:
        RequestError: No column could be the content, or a declared column does not exist.
    """
    values = layouts.columns_of(records)
    for name, template in declared.items():
        for column in re.findall(r"\{(\w+)\}", template) or ([] if "{" in template else [template]):
            if column not in values:
                near = did_you_mean(column, map(printable, values))
                raise RequestError(f'--field {name}={template}: {place} has no column "{column}".{near}')
    content = {name: text for name, text in declared.items() if name in CONTENT_COLUMNS}
    if content:
        made = Columns(content, notes=["fields as given by --field"])
    elif known is not None:
        made = known
    else:
        made = _completed(_content(values, place), values)
    used = " ".join(made.fields.values())
    rest = {column: found for column, found in values.items() if not _within(column, used)}
    _answer(made, rest)
    _marks(made, rest, len(records))
    gaps = {column for column, found in values.items() if None in found}  # null, or not there
    marks = {made.fields[name] for name in ("group", "slice", "license") if name in made.fields}
    made.optional = tuple(sorted({*made.optional, *(marks & gaps)}))
    made.fields |= declared
    made.left_out = layouts.left_out(made.fields, (), values)
    if made.left_out:
        made.notes.append(f"left out: {layouts.listed(made.left_out)}")
    return made


def _completed(made: Columns, values: Mapping[str, Sequence[Any]]) -> Columns:
    """Add what else is part of the question, or says which rows are bad examples."""
    layout = layouts.completed(made.fields, values)
    lacking = {column for column in layout.optional if f"{{{column}}}" in " ".join(layout.fields.values())}
    return Columns(layout.fields, [*made.notes, *layout.notes], tuple(sorted(lacking | set(made.optional))))


def _content(values: Mapping[str, Sequence[Any]], place: str) -> Columns:
    found = _pick(values, MESSAGES, _is_talk)
    chosen, rejected = _pick(values, CHOSEN, _is_answer), _pick(values, REJECTED, _is_answer)
    if chosen and rejected:
        return _preferred(values, chosen, rejected, found)
    if found:
        return Columns({"messages": found}, notes=[f'conversations in "{found}"; the last answer is learned'])
    talks = [_pick(values, names, _is_talk) for names in (PROMPT, COMPLETION)]
    if talks[0] and talks[1]:
        notes = [f'"{talks[0]}" is the conversation so far, "{talks[1]}" the answer']
        return Columns({"prompt": talks[0], "completion": talks[1]}, notes)
    texts = {column: found for column, found in values.items() if _mostly_text(found)}
    prompt = _pick(texts, PROMPT, any)
    rest = {column: found for column, found in texts.items() if column != prompt}
    # A bare number beside a worked solution is what the solution is checked against, not what is learned.
    completion = _pick(rest, COMPLETION, lambda found: not _numbers(found)) or _pick(rest, COMPLETION, any)
    if prompt and completion:
        return _pair(values, prompt, completion)
    text, label = _pick(texts, TEXT, any) or prompt, _pick(texts, LABEL, _is_label)
    if text and label and text != label:
        fields = {"prompt": f"{{{text}}}\n{label.capitalize()}:", "completion": f" {{{label}}}"}
        return Columns(fields, notes=[f'"{label}" is a label to predict from "{text}" (else: --field text={text})'])
    if text and not prompt:
        return Columns({"text": text}, notes=[f'raw text in "{text}" (objective: {DRAFTED["text"].name})'])
    names = ", ".join(printable(column) for column in list(values)[:12])
    raise RequestError(
        f"{place}: none of its columns ({names}) is known to be a question and an answer, a conversation, or text. "
        "Say which: --field prompt=COLUMN --field completion=COLUMN (or messages=, text=, chosen= and rejected=)"
    )


def _preferred(values: Mapping[str, Sequence[Any]], chosen: str, rejected: str, talk: str | None) -> Columns:
    """Return the fields of preference pairs."""
    objective = DRAFTED["chosen"].name
    made = Columns({"chosen": chosen, "rejected": rejected})
    made.notes.append(f'preference pairs: "{chosen}" is preferred to "{rejected}" (objective: {objective})')
    prompt = _pick(values, PROMPT, _is_answer)
    if prompt and _plain(prompt) in ("instruction", "question") and _mostly_text(values[prompt]):
        prompt = f"{{{prompt}}}\n"
    if prompt:
        made.fields["prompt"] = prompt
        if talk:
            made.notes.append(f'to train on "{talk}" instead: --field messages={talk}')
    elif talk and not all(map(_is_whole_talk, values[chosen])):
        made.fields["messages"] = talk
        made.notes.append(f'"{talk}" is the conversation that they answer')
    elif all(isinstance(value, str) and transcript(value) for value in values[chosen]):
        made.notes.append("their text (Human: ... Assistant: ...) is taken apart into messages")
    return made


def _pair(values: Mapping[str, Sequence[Any]], prompt: str, completion: str) -> Columns:
    notes = [f'"{prompt}" is the prompt, "{completion}" the completion']
    if _plain(prompt) == "instruction" and any(_plain(column) in ("input", "context") for column in values):
        return Columns({"prompt": f"{{{prompt}}}\n", "completion": f"{{{completion}}}"}, notes)
    if _plain(prompt) in ("question", "query", "problem"):
        return Columns({"prompt": f"Q: {{{prompt}}}\nA:", "completion": f" {{{completion}}}"}, notes)
    pairs = zip(values[prompt], values[completion], strict=True)
    joined = [str(before)[-1:].isspace() or str(after)[:1].isspace() for before, after in pairs]
    if sum(joined) >= 0.9 * len(joined):
        return Columns({"prompt": prompt, "completion": completion}, notes)
    notes.append("nothing separates prompt and completion, so a line break was put between")
    return Columns({"prompt": f"{{{prompt}}}\n", "completion": f"{{{completion}}}"}, notes)


def _answer(made: Columns, rest: Mapping[str, Sequence[Any]]) -> None:
    """Map a number beside a worked-out completion as the answer to check it against."""
    found = _pick(rest, ANSWER, _numbers)
    if found and {"completion", "messages"} & set(made.fields):
        made.fields["answer"] = found
        made.notes.append(f'"{found}" holds numbers that completions can be checked against (verify)')


def _marks(made: Columns, rest: Mapping[str, Sequence[Any]], rows: int) -> None:
    """Map what tells rows apart: clusters, slices, licences."""
    taken = made.fields.get("answer")
    rest = {column: values for column, values in rest.items() if column != taken}

    def repeats(values: Sequence[Any]) -> bool:
        return 1 < len(set(map(str, values))) <= 0.9 * rows

    group = _pick(rest, GROUP, lambda values: _is_text(values) and repeats(values))
    if group:
        made.fields["group"] = group
        made.notes.append(f'rows with the same "{group}" belong together: they are never split between train and test')
    kind = _pick(rest, SLICE, lambda values: _is_text(values) and 1 < len(set(map(str, values))) <= MOST_LABELS)
    if kind and kind != group:
        made.fields["slice"] = kind
        made.notes.append(f'effects are also shown by "{kind}"')
    license_ = _pick(rest, LICENSE, _is_text)
    if license_:
        made.fields["license"] = license_


def _pick(
    values: Mapping[str, Sequence[Any]], names: Collection[str], fits: Callable[[Sequence[Any]], bool]
) -> str | None:
    plain = {_plain(column): column for column in reversed(list(values))}
    return next((plain[name] for name in names if name in plain and fits(values[plain[name]])), None)


def _within(column: str, used: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(column)}(?!\w)", used))


def _is_text(values: Sequence[Any]) -> bool:
    """Tell whether a column is text, all of it."""
    return _mostly_text(values) and {type(value) for value in values if value is not None} <= {str, int, float}


def _mostly_text(values: Sequence[Any]) -> bool:
    """Tell whether a column is text but for rows that are told one by one when they are read."""
    there = [value for value in values if value is not None]
    said = [value for value in there if type(value) in (str, int, float)]
    return 2 * len(said) >= len(there) and any(str(value).strip() for value in said)


def _numbers(values: Sequence[Any]) -> bool:
    return all(value is not None and number(str(value)) is not None for value in values)


def _is_answer(values: Sequence[Any]) -> bool:
    return _mostly_text(values) or _lists(values)


def _is_label(values: Sequence[Any]) -> bool:
    return 1 < len(set(map(str, values))) <= min(MOST_LABELS, max(2, len(values) // 2))


def _lists(values: Sequence[Any]) -> bool:
    there = [value for value in values if value is not None]
    listed = [value for value in there if isinstance(value, list | dict) and value]
    return bool(listed) and 2 * len(listed) >= len(there)


def _is_whole_talk(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1


def _is_talk(values: Sequence[Any]) -> bool:
    return any(is_conversation(value) for value in values if value)
