"""The layouts that datasets come in: what is asked, what is answered, and which columns are part of the question."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from harness.data.conversations import is_conversation, members, turns
from harness.data.values import BadRow, flag
from harness.unpacking import printable

QUESTION = {"prompt": "Q: {question}\nA:", "completion": " {answer}"}
ALPACA = {"prompt": "{instruction}\n{input}\n", "completion": "{output}"}
# Columns that show a layout -> the fields as a study would declare them. If two layouts match and the columns of one
# include those of the other, the larger one counts.
CERTAIN: tuple[tuple[set[str], dict[str, str]], ...] = (
    ({"prompt", "completion"}, {"prompt": "prompt", "completion": "completion"}),
    ({"prompt", "chosen", "rejected"}, {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}),
    # UltraFeedback: its messages are the chosen conversation once more.
    ({"prompt", "chosen", "rejected", "messages"}, {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}),
    ({"messages", "chosen", "rejected"}, {"messages": "messages", "chosen": "chosen", "rejected": "rejected"}),
    (
        {"conversations", "chosen", "rejected"},
        {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    ),
    ({"instruction", "chosen", "rejected"}, {"prompt": "{instruction}\n", "chosen": "chosen", "rejected": "rejected"}),
    ({"question", "chosen", "rejected"}, {"prompt": "{question}\n", "chosen": "chosen", "rejected": "rejected"}),
    ({"chosen", "rejected"}, {"chosen": "chosen", "rejected": "rejected"}),
    ({"instruction", "output"}, ALPACA),
    ({"instruction", "input", "output", "text"}, ALPACA),  # as on the Hub: its text is the other three in a frame
    ({"messages"}, {"messages": "messages"}),
    ({"conversations"}, {"messages": "conversations"}),
    ({"question", "answer"}, QUESTION),
    ({"text"}, {"text": "text"}),
)  # fmt: skip
FURTHER: tuple[tuple[set[str], dict[str, str]], ...] = (  # only where none of the above matches
    ({"instruction", "response"}, {"prompt": "{instruction}\n{context}\n", "completion": "{response}"}),
    ({"question", "response"}, {"prompt": QUESTION["prompt"], "completion": " {response}"}),
    ({"prompt", "response"}, {"prompt": "{prompt}\n", "completion": "{response}"}),
    ({"query", "response"}, {"prompt": "Q: {query}\nA:", "completion": " {response}"}),
    ({"problem", "solution"}, {"prompt": "Q: {problem}\nA:", "completion": " {solution}"}),
)
LACKING = {"input", "context"}  # of the templates above: a row may have none
# Columns that are part of the question in any layout that has one: names without case, spaces, _ and -.
SYSTEM = ("system", "systemprompt", "systemmessage")
HISTORY = ("history",)
CONTEXT = ("context", "passage", "input")
GOOD = ("label", "ktotag")
FIRST, LATER = 200, 8192  # records whose values are looked at, and records in which further columns are looked for
SHOWN = 12  # columns in a message


@dataclass(frozen=True)
class Layout:
    """How columns become rows.

    Attributes:
        fields: Canonical field -> column or template, as a study writes it.
        optional: Columns of templates that a row may lack.
        notes: The assumptions made, as sentences, one line each.
    """

    fields: dict[str, str]
    optional: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def telling(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return records that show which columns there are: the first, and later ones that fill a further column."""
    seen: set[str] = set()
    found = []
    for number, record in enumerate(islice(records, LATER)):
        new = {column for column, value in record.items() if value not in (None, "", [])} - seen
        if new or number < FIRST:
            found.append(record)
            seen |= new
    return found


def columns_of(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of every column that any record has."""
    names = dict.fromkeys(column for record in records for column in record)
    return {column: [record.get(column) for record in records] for column in names}


def plain(column: str) -> str:
    """Return a column's name without case, spaces, underscores and hyphens."""
    return re.sub(r"[\s_\-]+", "", str(column)).lower()


def named(template: str) -> list[str]:
    """Return the columns of a template."""
    return re.findall(r"\{([^{}]+)\}", template) if "{" in template else [template]


def matches(columns: Collection[str]) -> list[tuple[set[str], dict[str, str]]]:
    """Return the layouts that columns match; more than one if there is doubt."""
    for table in (CERTAIN, FURTHER):
        known = [(tells, fields) for tells, fields in table if tells <= set(columns)]
        if known:
            return [(tells, fields) for tells, fields in known if not any(tells < other for other, _ in known)]
    return []


def completed(fields: Mapping[str, str], values: Mapping[str, Sequence[Any]]) -> Layout:
    """Return a layout with the fields, further columns of the question, and the column that marks good rows.

    Args:
        fields: The fields of the question and the answer.
        values: Column -> some of its values; empty if they are unknown.
    """
    made = Layout(dict(fields))
    used = {column for template in fields.values() for column in named(template)}
    lacking = LACKING & {
        column for template in fields.values() for column in named(template) if template.count("{") > 1
    }
    free = {column: held for column, held in values.items() if column not in used}
    spoken = "messages" in fields or any(_talks(values.get(fields.get(side, ""), ())) for side in ("prompt", "chosen"))
    system = _find(free, SYSTEM, _is_text)
    if spoken or set(fields) == {"chosen", "rejected"}:
        if system:
            made.fields["system"] = system
            made.notes.append(f'"{system}" is the system message, where a row has one')
    elif "prompt" in fields:
        lacking |= _prompted(made, free, values, system)
    good = _find(free, GOOD, _flags)
    if good and {"completion", "messages"} & set(fields) and "chosen" not in fields:
        made.fields["good"] = good
        bad = sum(flag(value) is False for value in free[good])
        made.notes.append(
            f'"{good}" is false in {bad:,} of the {len(free[good]):,} rows looked at: examples of bad answers, which '
            "are left out; the good ones are trained on"
        )
    return Layout(made.fields, tuple(sorted(lacking)), made.notes)


def _prompted(
    made: Layout, free: Mapping[str, Sequence[Any]], values: Mapping[str, Sequence[Any]], system: str | None
) -> set[str]:
    """Put further columns of the question into the prompt; return these columns."""
    prompt = made.fields["prompt"]
    template = prompt if "{" in prompt else f"{{{prompt}}}"
    asked = [values.get(column, ()) for column in named(template)]
    added = set()
    for name in CONTEXT:
        context = _find(free, (name,), _is_text)
        if context and not _repeated(free[context], asked):
            after = template.endswith("\n") and not template.startswith("Q:")
            template = f"{template}{{{context}}}\n" if after else f"{{{context}}}\n{template}"
            added.add(context)
            made.notes.append(f'"{context}" is in the prompt {"after" if after else "before"} it, where a row has one')
    history = _find(free, HISTORY, _is_history)
    if history:
        template = f"{{{history}}}\n{template}"
        added.add(history)
        made.notes.append(f'"{history}" holds earlier turns, which come before it, a line each')
    if system:
        template = f"{{{system}}}\n\n{template}"
        added.add(system)
        made.notes.append(f'"{system}" comes first in the prompt, where a row has one')
    if added:
        made.fields["prompt"] = template
    return added


def left_out(fields: Mapping[str, str], carried: Collection[str], values: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the parts of a file that its rows leave out: columns, and members of messages as ``messages[].name``.

    Args:
        fields: Canonical field -> column or template.
        carried: Further columns that rows carry along.
        values: Column -> some of its values.
    """
    used = {"id"} | {column for template in fields.values() for column in named(template)}
    found = [
        column
        for column, held in values.items()
        if column not in used and column not in carried and any(value not in (None, "", []) for value in held)
    ]
    for name in ("messages", "prompt", "completion", "chosen", "rejected"):
        held = values.get(fields.get(name, ""), ())
        inside = set().union(*(members(value) for value in held if isinstance(value, list | dict)))
        found += [f"{fields[name]}[].{member}" for member in sorted(inside)]
    return list(dict.fromkeys(found))


def listed(columns: Sequence[str]) -> str:
    """Return the names of columns for a message, at most ``SHOWN`` of them."""
    shown = ", ".join(printable(str(column)) for column in columns[:SHOWN])
    return shown + (f" and {len(columns) - SHOWN:,} more" if len(columns) > SHOWN else "")


def _find(values: Mapping[str, Sequence[Any]], names: Sequence[str], fits: Any) -> str | None:
    known = {plain(column): column for column in reversed(list(values)) if not set(str(column)) & set("{}.[]!:")}
    return next((known[name] for name in names if name in known and fits(values[known[name]])), None)


def _there(values: Sequence[Any]) -> Iterator[Any]:
    return (value for value in values if value not in (None, "", []))


def _is_text(values: Sequence[Any]) -> bool:
    """Return whether at least half of a column's known values are text; the other rows are reported when read."""
    there = list(_there(values))
    texts = [value for value in there if type(value) in (str, int, float)]
    return bool(texts or not values) and 2 * len(texts) >= len(there)


def _is_history(values: Sequence[Any]) -> bool:
    there = list(_there(values))
    fitting = [value for value in there if isinstance(value, str) or _are_turns(value)]
    return bool(fitting or not values) and 2 * len(fitting) >= len(there)


def _are_turns(value: Any) -> bool:
    try:
        return turns(value) is not None
    except BadRow:
        return True  # the rows that cannot be read are reported one by one


def _flags(values: Sequence[Any]) -> bool:
    there = list(_there(values))
    return bool(there) and all(flag(value) is not None for value in there)


def _talks(values: Sequence[Any]) -> bool:
    value = next(_there(values), None)
    return isinstance(value, list | dict) and is_conversation(value)


def _repeated(values: Sequence[Any], asked: Sequence[Sequence[Any]]) -> bool:
    """Return whether the question holds the values of a column already."""
    pairs = [(str(value), [str(one[at]) for one in asked if at < len(one)]) for at, value in enumerate(values) if value]
    return bool(pairs) and all(any(value in question for question in questions) for value, questions in pairs)
