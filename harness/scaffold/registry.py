"""LLaMA-Factory's ``dataset_info.json``: what the person who made a file says its columns are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.data.conversations import ROLES
from harness.errors import RequestError
from harness.scaffold.columns import Columns
from harness.unpacking import said

NAME = "dataset_info.json"
ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
CHAT = {"messages": "conversations"}
SPEAKERS = {"role_tag": ("from", "role"), "content_tag": ("value", "content")}  # what messages may call them
SIDES = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}


def described(file: Path) -> Columns | None:
    """Return what the registry beside a file says of it; None where there is none, or the file is not in it.

    Raises:
        RequestError: It is not JSON, or its messages are written in a way that is not read.
    """
    place = file.parent / NAME
    if not place.is_file():
        return None
    try:
        listed = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = f"not JSON ({said(error)}); it may say what {file.name} holds, so mend it or move it away"
        raise RequestError(f"{place}: {why}") from error
    entries = listed.values() if isinstance(listed, dict) else ()
    named_so = (one for one in entries if isinstance(one, dict) and isinstance(one.get("file_name"), str))
    entry = next((one for one in named_so if (file.parent / one["file_name"]).resolve() == file.resolve()), None)
    if entry is None:
        return None
    named: dict[str, Any] = {**entry["columns"]} if isinstance(entry.get("columns"), dict) else {}
    _refuse_other_tags({**entry["tags"]} if isinstance(entry.get("tags"), dict) else {}, place, file)
    made = _columns(named, chat=entry.get("formatting") == "sharegpt", ranked=bool(entry.get("ranking")))
    made.notes.insert(0, f"columns as {NAME} beside it says")
    return made


def _columns(named: dict[str, Any], *, chat: bool, ranked: bool) -> Columns:
    at = (CHAT if chat else ALPACA) | {name: str(column) for name, column in named.items()}
    made, lacking = Columns({}), set()
    if set(named) == {"prompt"} and not chat:  # to go on training on text
        return Columns({"text": at["prompt"]})
    if chat:
        made.fields["messages"] = at["messages"]
        if "system" in at:
            made.fields["system"] = at["system"]
    else:
        prompt = "".join(f"{{{at[part]}}}\n" for part in ("prompt", "query") if part in at)
        before = "".join(f"{{{at[part]}}}{gap}" for part, gap in (("system", "\n\n"), ("history", "\n")) if part in at)
        made.fields["prompt"] = before + prompt
        lacking = {at[part] for part in ("query", "system", "history") if part in at}
        if not ranked:
            made.fields["completion"] = at["response"]
    if ranked:
        made.fields |= {side: at[side] for side in ("chosen", "rejected") if side in at}
    if "kto_tag" in at:
        made.fields["good"] = at["kto_tag"]
        made.notes.append(f'rows where "{at["kto_tag"]}" is false are bad examples, which are left out')
    made.optional = tuple(sorted(lacking))
    return made


def _refuse_other_tags(tags: dict[str, Any], place: Path, file: Path) -> None:
    for tag, known in SPEAKERS.items():
        if tags.get(tag, known[0]) not in known:
            raise RequestError(
                f'{place}: {file.name} calls "{tags[tag]}" what is read as {" or ".join(known)} of a message; rename it'
            )
    for tag, role in SIDES.items():
        if ROLES.get(str(tags.get(tag, role)).lower()) != role:
            raise RequestError(f'{place}: {file.name} calls "{tags[tag]}" what is read as "{role}"; rename the role')
