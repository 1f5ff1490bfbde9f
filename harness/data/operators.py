"""Operators of sums, formulas and code: words where they calculate or compare, punctuation elsewhere."""

from __future__ import annotations

import re

MARK = "\0"  # stands before an operator that is a word
SIGNS = "+-*/^=<>!&|%±≈#"
_SIGN = re.compile(  # one class first, so that the rest is tried at operators only
    r"[-+*/^=<>±≈%!&|#](?!(?<=[a-z]-)[a-z])"
    r"(?:(?<=[-+*/%<>])=|(?<=[=!])==?|(?<=<)[<>]|(?<=>)>|(?<=\+)\+|(?<=&)&|(?<=\|)\||(?<=\*)\*|(?<=/)/)?"
)
_SPELLED = {"**": "^", "<>": "!=", "===": "==", "!==": "!="}
_DASHES = ("-", "/", "&", "|")  # punctuation as well, between words
_BLANK = " \t\n\r\f\v\xa0"
_QUIET = f"{_BLANK}$\"'_`*"  # may stand between an operator and its operand
_OPEN, _CLOSED = "([{\\", ")]}"
_CODE = re.compile(r"[={}_]|;\s*$|[^\W\d]\w*[(\[]|\breturn\b")  # in a line of code, not in prose
_COMMANDS = {
    "*": "cdot times ast", "/": "div", "<=": "le leq leqslant", ">=": "ge geq geqslant", "!=": "ne neq", "<": "lt",
    ">": "gt", "±": "pm", "≈": "approx",
    " ": "left right big bigl bigr Big Bigl Bigr bigg displaystyle textstyle limits quad qquad text mathrm mathbf "
    "mathit operatorname textbf mbox", r"\frac": "dfrac tfrac cfrac",
}  # fmt: skip
_MEANT = {name: sign for sign, names in _COMMANDS.items() for name in names.split()}
_COMMAND = re.compile(rf"\\(?:({'|'.join(sorted(_MEANT, key=len, reverse=True))})(?![a-zA-Z])|([()\[\],;:!$%]))")


def marked(text: str) -> str:
    """Return a text of folded case with ``MARK`` before every operator that is a word (see ``_counts``)."""
    if "\\" in text:
        text = _COMMAND.sub(_meant, text)
    return _SIGN.sub(_marked, text)


def _meant(found: re.Match[str]) -> str:
    """Return the replacement of a TeX command: an operator, a space, or the command itself."""
    if found[1]:
        return f" {_MEANT[found[1]]} " if found[1] not in ("dfrac", "tfrac", "cfrac") else r"\frac"
    return found[2] if found[2] == "%" else " "


def _marked(found: re.Match[str]) -> str:
    sign = found[0]
    if _counts(found.string, sign, *found.span()):
        return f" {MARK}{_SPELLED.get(sign, sign)} "
    return sign


def _counts(text: str, sign: str, start: int, end: int) -> bool:
    """Whether an operator has two operands, or is a sign of the operand after it."""
    left, right = start - 1, end
    while left >= 0 and text[left] in _QUIET:
        left -= 1
    while right < len(text) and text[right] in _QUIET:
        right += 1
    one, other = text[left] if left >= 0 else "", text[right : right + 1]
    if sign == "%" and one.isdigit() and start - left <= 2:
        return True
    near, ahead = text[start - 1 : start], text[end : end + 1]
    if sign in ("++", "#"):  # C++, C#, i++
        return bool(near) and _letter(near) and not (ahead and _letter(ahead))
    negative = other == "-" and text[right + 1 : right + 2].isalnum()
    point = other == "." and text[right + 1 : right + 2].isdigit()
    if not (_letter(other) or (other and other in _OPEN) or negative or point):
        return False
    if sign in ("-", "!"):  # -5, f(-x), !done
        opened = not near or near in f"{_BLANK}([{{=,^<>&|+*/:"
        if opened and ahead.isalnum() and not one.isdigit():
            return sign == "!" or ahead.isdigit() or (near != "" and near not in _BLANK)
        if sign == "!":
            return False
    if not (_letter(one) or (one and one in _CLOSED)):
        return False
    if one.isdigit() and (other.isdigit() or negative or point):
        return True
    if "\n" in text[left:start] or "\n" in text[end:right]:
        return False
    firm = one.isdigit() or one in _CLOSED, other.isdigit() or other in _OPEN or negative or point
    spaced = near in _BLANK, ahead in _BLANK
    if spaced[0] != spaced[1]:
        return all(firm)
    alone = firm[0] or not text[left - 1 : left].isalnum(), firm[1] or not text[right + 1 : right + 2].isalnum()
    if sign in _DASHES:
        if not spaced[0]:
            return sign in "-/" and all(firm)
        return (sign in "-/" and all(alone)) or _in_code(text, start, end)
    return spaced[0] or sign not in "*<>" or any(alone)


def _letter(character: str) -> bool:
    """Whether a character is a letter, a digit or a mark on one."""
    return character.isalnum() or (character > "\u02ff" and f"a{character}".isidentifier())


def _in_code(text: str, start: int, end: int) -> bool:
    stop = text.find("\n", end)
    return _CODE.search(text, text.rfind("\n", 0, start) + 1, stop if stop >= 0 else len(text)) is not None
