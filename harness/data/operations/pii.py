"""``pii``: e-mail addresses, phone numbers, IP addresses and card numbers in what the model will see.

Maths problems, code and release notes are full of numbers, so a number counts only with evidence: a checksum (cards), a
``+`` or a layout that only phone numbers have, or a word such as "call" before it; and never as part of a calculation
or of a version. Not seen: names, postal addresses, numbers spelled in words, addresses written as "bob at example".
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Sequence

import polars as pl

from harness.data.operations.content import rewrite
from harness.records import CONTENT_COLUMNS

MASKS = {"email": "<EMAIL>", "ip": "<IP>", "card": "<CARD>", "phone": "<PHONE>"}  # in the order they are looked for
NAMES = {"email": "e-mail address", "ip": "IP address", "card": "card number", "phone": "phone number"}
# Every find has an "@", seven digits with little in between, three points between digits, or colons around hex digits.
DENSE = re.compile(r"\d(?:[ ./()-]{0,2}\d){6}")
SUSPECT = "@|" + DENSE.pattern + r"|\d\.\d{1,3}\.\d{1,3}\.\d|:[0-9A-Fa-f]{0,4}:"

EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9_][\w.+%'-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-]|\.\w)"
)
NO_EMAIL = re.compile(r"git@|.*@\dx\.\w+$")  # remotes of a repository; images for sharp screens (icon@2x.png)

IP_V4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
IP_V6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]{6,39}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?![\w:]|\.\d)")
NETWORK = re.compile(r"(?:fe80|f[cd][0-9a-f]{2}|2[0-9a-f]{3})::\w", re.IGNORECASE)  # link-local, private, global
VERSIONED = re.compile(
    r"(?:\b(?:v|ver|vers|version|release|rev|revision|build|firmware|section|chapter|clause|figure|table|appendix|rule)"
    r"\.?\s*|§\s*|[=~<>!]=\s*|[~^]|[A-Za-z]\w*[-_/])$",
    re.IGNORECASE,
)

CARD = re.compile(
    r"(?<![\w.,])(?<!\d[ -])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})"
    r"(?!\w|[.,]\d|[ -]\d)"
)
# Visa; Mastercard; American Express; Discover; JCB; Diners Club; UnionPay; Maestro (ISO/IEC 7812 issuer numbers).
ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12,15}|35(?:2[89]|[3-8]\d)\d{12,15}|3(?:0[0-5]|095|[689]\d)\d{11,16}"
    r"|62\d{14,17}|(?:50|5[6-9]|6\d)\d{11,17}"
)

PHONE = re.compile(
    r"(?<![\w.,+])(?<!\d[ /-])(?:"
    r"(?P<international>\+\(?\d(?:[ ./()-]{0,2}\d){7,14})"
    r"|(?P<area>(?:1[ .-]?)?\(\d{3}\)[ .-]?\d{3}[ .-]\d{4})"
    r"|(?P<layout>(?:1([ .-]))?[2-9]\d{2}([.-])[2-9]\d{2}\5\d{4})"
    r"|(?P<trunk>\(0\d{1,4}\)[ ./-]?\d{3,4}[ ./-]?\d{3,5}|0\d{1,4}[ /-]\d{3,4}[ -]?\d{3,5}|0[1-9](?:[ .]\d{2}){4})"
    r")(?!\w|[.,]\d|[ /-]\d)"
)
CALLED = re.compile(
    r"\b(?:(?:tele)?phone|tel|t[ée]l[ée]phone|t[ée]l|mobile|cell(?:phone)?|fax|whatsapp|hotline"
    r"|(?:call|dial|ring|text|reach)(?: me| us| him| her| them)?)"
    r"(?: number| no\.?| nr\.?)?(?: is| was| at| on)?[ .:#=-]{0,4}"
    r"(?P<number>(?:\+|\()?\d(?:[ ./()-]{0,2}\d){6,14})(?!\w|[.,]\d|[ /-]\d)",
    re.IGNORECASE,
)
DATE = re.compile(r"\d{4}[ ./-]\d{1,2}[ ./-]\d{1,2}|\d{1,2}[ ./-]\d{1,2}[ ./-]\d{4}")
# A number is part of a calculation when an operator and another number, or one side of an equation, are beside it.
CALCULATED_BEFORE = re.compile(
    r"(?:[\d)]\s*[+*×÷/^]\s*|[\d)]\s+[-−–]\s*|(?:[\d)]|\b[a-z])\s*=\s*"
    r"|\b(?:what is|what's|calculate|compute|evaluate|solve|simplify|subtract|difference|sum of|value of)\W{0,3})$",
    re.IGNORECASE,
)
CALCULATED_AFTER = re.compile(r"\s*(?:[+*×÷/^]\s*[\d(]|\s[-−–]\s*[\d(]|=\s*[\d?x])")
BEFORE = 24  # characters looked at for a word that says what a number is


def masked(rows: pl.DataFrame, kinds: Sequence[str]) -> pl.DataFrame:
    """Return the rows with personal data replaced by ``<EMAIL>``, ``<PHONE>``, ``<IP>`` and ``<CARD>``.

    Rows that changed have another ``row_id``.
    """
    return rewrite(rows, "pii", lambda _, text: mask(text, kinds), lambda name: pl.col(name).str.contains(SUSPECT))


def found(rows: pl.DataFrame, kinds: Sequence[str]) -> pl.Series:
    """Return, for each row, the kinds of personal data it holds (never the data), or null."""
    reasons = []
    suspects = pl.any_horizontal(pl.col(name).str.contains(SUSPECT).fill_null(False) for name in CONTENT_COLUMNS)
    doubted = rows.select(suspects | pl.col("messages").is_not_null()).to_series()
    positions = doubted.arg_true()
    for row in rows.filter(doubted).select(CONTENT_COLUMNS).iter_rows(named=True):
        texts = [row[name] for name in CONTENT_COLUMNS if name != "messages" and row[name] is not None]
        texts += [turn["content"] for turn in json.loads(row["messages"] or "[]")]
        holds = [NAMES[kind] for kind in MASKS if kind in kinds and any(next(spans(t, kind), None) for t in texts)]
        reasons.append(f"holds {' and '.join(holds)}" if holds else None)
    none = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    return none.scatter(positions, pl.Series(reasons, dtype=pl.String))


def mask(text: str, kinds: Sequence[str]) -> str:
    """Return text with every find of these kinds replaced by its mask; masking twice is masking once."""
    while True:
        before = text
        for kind, sign in MASKS.items():
            if kind in kinds:
                ends = [0, *(place for span in spans(text, kind) for place in span), len(text)]
                text = sign.join(text[start:end] for start, end in zip(ends[::2], ends[1::2], strict=True))
        if text == before:
            return text


def spans(text: str, kind: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of every find of one kind, from left to right."""
    match kind:
        case "email" if "@" in text:
            yield from (m.span() for m in EMAIL.finditer(text) if not NO_EMAIL.match(m.group()))
        case "ip":
            yield from _addresses(text)
        case "card" if DENSE.search(text):
            for found in CARD.finditer(text):
                if _is_card(re.sub(r"[ -]", "", found.group())) and not _calculated(text, *found.span()):
                    yield found.span()
        case "phone" if DENSE.search(text):
            yield from _phones(text)


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    end = 0
    found_v6 = IP_V6.finditer(text) if text.count(":") > 1 else ()
    found_v4 = IP_V4.finditer(text) if text.count(".") > 2 else ()
    for found in sorted([*found_v6, *found_v4], key=re.Match.start):
        if found.start() < end:  # the IPv4 part of an IPv6 address
            continue
        try:
            address = ipaddress.ip_address(found.group())
        except ValueError:
            continue
        if address.version == 4 and VERSIONED.search(text[max(0, found.start() - BEFORE) : found.start()]):
            continue
        # Short ones may be slices (x[1::2]) or scopes of a programming language (a::b).
        groups = [group for group in found.group().split(":") if group]
        if address.version == 6 and len(groups) < 3 and not NETWORK.match(found.group()):
            continue
        end = found.end()
        yield found.span()


def _is_card(digits: str) -> bool:
    """Return whether digits are a card's: an issuer's prefix with its length, and the Luhn checksum (ISO/IEC 7812)."""
    if not ISSUER.fullmatch(digits) or len(set(digits)) == 1:
        return False
    doubled = [int(digit) * (1 + odd % 2) for odd, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _phones(text: str) -> Iterator[tuple[int, int]]:
    found = [m.span() for m in PHONE.finditer(text) if _is_phone(m) and not _calculated(text, *m.span())]
    found += [m.span("number") for m in CALLED.finditer(text) if not DATE.fullmatch(m["number"])]
    end = 0
    for start, stop in sorted(found, key=lambda span: (span[0], -span[1])):
        if start >= end:
            end = stop
            yield start, stop


def _is_phone(found: re.Match[str]) -> bool:
    if DATE.fullmatch(found.group()):
        return False
    if found["international"] is not None:
        return len(re.findall(r"\D+", found.group())) <= 7  # digits that stand alone are a list of numbers
    if found["trunk"] is not None:
        # Pairs that count up (01 02 03 04 05) are a sequence.
        counting = re.fullmatch(r"01\D02\D03\D04\D05", found.group())
        return 9 <= len(re.sub(r"\D", "", found.group())) <= 12 and not counting
    return True


def _calculated(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - BEFORE) : start]
    return bool(CALCULATED_BEFORE.search(before) or CALCULATED_AFTER.match(text, end))
