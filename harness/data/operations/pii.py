"""``pii``: e-mail addresses, phone numbers, IP addresses and card numbers in what the model will see.

Maths problems, code and release notes are full of numbers, so a number counts only with evidence: a checksum (cards), a
``+`` or a layout that only phone numbers have, or a word such as "call" before it; and never as part of a calculation
or of a version. Not found: names, postal addresses, numbers spelled in words, addresses written as "bob at example".
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Sequence

import polars as pl

from harness.data.operations.content import rewrite
from harness.data.scripts import UNSPACED
from harness.records import CONTENT_COLUMNS

MASKS = {"email": "<EMAIL>", "ip": "<IP>", "card": "<CARD>", "phone": "<PHONE>"}  # in the order they are looked for
NAMES = {"email": "e-mail address", "ip": "IP address", "card": "card number", "phone": "phone number"}
# Every find has an "@", seven digits with little in between, three points between digits, or colons around hex digits.
DENSE = re.compile(r"\d(?:[ ./()-]{0,2}\d){6}")
SUSPECT = "@|" + DENSE.pattern + r"|\d\.\d{1,3}\.\d{1,3}\.\d|:[0-9A-Fa-f]{0,4}:"

# A find may not be inside a word; scripts without spaces, though, write numbers next to their words.
INSIDE = f"[^\\W{UNSPACED}]"
EMAIL = re.compile(
    rf"(?<!{INSIDE})(?<![.+%-])[A-Za-z0-9_](?:{INSIDE}|[.+%'-]){{0,63}}@"
    rf"(?:[^\W_{UNSPACED}](?:(?:{INSIDE}|-){{0,61}}[^\W_{UNSPACED}])?\.){{1,8}}[^\W\d_{UNSPACED}]{{2,24}}"
    rf"(?!{INSIDE}|-|\.{INSIDE})"
)
NO_EMAIL = re.compile(r"git@|.*@\dx\.\w+$")  # remotes of a repository; images for sharp screens (icon@2x.png)

IP_V4 = re.compile(rf"(?<!{INSIDE})(?<!\.)\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?!{INSIDE}|\.\d)")
IP_V6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]{6,39}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?![\w:]|\.\d)")
NETWORK = re.compile(r"(?:fe80|f[cd][0-9a-f]{2}|2[0-9a-f]{3})::\w", re.IGNORECASE)  # link-local, private, global
VERSION = (
    r"v|vers?|versions?|versi[óo]n|versión|versão|versione|versjon|versionen|wersj[ai]|verz[ei]|verzi[aó]|versiune|sürümü?"
    r"|versi|release|rev|revision|révision|build|firmware|software|update|patch|ausgabe|fassung|utgave|έκδοση|верси[яию]"
    r"|версі[яію]|версією|верс|релиз|сборка|прошивка|section|chapter|clause|figure|table|appendix|rule|kapitel|abschnitt"
    r"|capítulo|sección|capitolo|sezione|chapitre|глава|раздел|إصدار|الإصدار|نسخة|النسخة|نسخه|גרסה|संस्करण|वर्ज़न|वर्जन|সংস্করণ"
    r"|பதிப்பு|phiên bản"
)
VERSION_UNSPACED = (
    "版本|版|固件|更新|升级|バージョン|ヴァージョン|リリース|เวอร์ชัน|เวอร์ชั่น|รุ่น|ជំនាន់|ဗားရှင်း|ເວີຊັນ|버전|버젼|릴리스"
)
VERSIONED = re.compile(
    rf"(?:\b(?:{VERSION})\.?\s*[:：]?\s*|(?:{VERSION_UNSPACED})(?:号|號|は|이|은|:|：)?\s*"
    r"|§\s*|[=~<>!]=\s*|[~^]|[A-Za-z]\w*[-_/])$",
    re.IGNORECASE,
)
RELEASED = re.compile(rf"\s*(?:{VERSION_UNSPACED}|发布|發布|正式|をリリース|公開|出시|출시)")
# Four numbers of one digit each are a version, unless the text around them shows that they are an address.
ADDRESSED = re.compile(
    r"(?:://|@|\b(?:ip|ips|ipv4|dns|host|server|ping|traceroute|ssh|gateway|router|address|adresse|dirección|адрес|сервер)\b"
    r"|地址|服务器|伺服器|サーバー?|アドレス|주소|서버).{0,12}$",
    re.IGNORECASE,
)

CARD = re.compile(
    rf"(?<!{INSIDE})(?<![.,])"
    r"(?<!\d[ -])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})"
    rf"(?!{INSIDE}|[.,]\d|[ -]\d)"
)
# Visa; Mastercard; American Express; Discover; JCB; Diners Club; UnionPay; Maestro (ISO/IEC 7812 issuer numbers).
ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12,15}|35(?:2[89]|[3-8]\d)\d{12,15}|3(?:0[0-5]|095|[689]\d)\d{11,16}"
    r"|62\d{14,17}|(?:50|5[6-9]|6\d)\d{11,17}"
)

PHONE = re.compile(
    rf"(?<!{INSIDE})(?<![.,+])"
    r"(?<!\d[ /-])(?:"
    r"(?P<international>\+\(?\d(?:[ ./()-]{0,2}\d){7,14})"
    r"|(?P<area>(?:1[ .-]?)?\(\d{3}\)[ .-]?\d{3}[ .-]\d{4})"
    r"|(?P<layout>(?:1([ .-]))?[2-9]\d{2}([.-])[2-9]\d{2}\5\d{4})"
    r"|(?P<trunk>\(0\d{1,4}\)[ ./-]?\d{3,4}[ ./-]?\d{3,5}|0\d{1,4}[ /-]\d{3,4}[ -]?\d{3,5}|0[1-9](?:[ .]\d{2}){4})"
    rf")(?!{INSIDE}|[.,]\d|[ /-]\d)"
)
# Words before a phone number: things that have one, and verbs. A verb alone is no evidence: "reach 12000000 people".
OWNED = (
    r"(?:tele)?phone|tel|t[ée]l[ée]phone|t[ée]l|mobile|cell(?:phone)?|fax|whatsapp|hotline|tel[eé]fono|telefone|telefon"
    r"|handy|celular|m[óo]vil|cellulare|telepon|điện thoại|тел|телефон|моб|мобильный|τηλέφωνο|هاتف|جوال|موبايل|تلفن"
    r"|טלפון|फ़ोन|फोन|मोबाइल|ফোন|মোবাইল"
)
OWNED_UNSPACED = (
    "手机号码|手机号|手机|手機號碼|手機|电话号码|电话|電話番号|電話|联系方式|携帯電話|携帯"
    "|전화번호|전화|휴대폰|핸드폰|연락처|เบอร์โทร|เบอร์|โทรศัพท์|โทร"
)
CALLED = re.compile(
    rf"(?:\b(?:(?P<owned>{OWNED})|(?P<verb>call|dial|ring|text|reach))\b(?P<whom> me| us| him| her| them)?"
    rf"|(?P<unspaced>{OWNED_UNSPACED}))"
    r"(?P<link>(?: number| no\.?| nr\.?)?(?: is| was| at| on|是|为|は)?[ .:：#=-]{0,4})"
    rf"(?P<number>(?:\+|\()?\d(?:[ ./()-]{{0,2}}\d){{6,14}})(?!{INSIDE}|[.,]\d|[ /-]\d)",
    re.IGNORECASE,
)
SAID = re.compile(r"number|no\b|nr\b|[:：#=]", re.IGNORECASE)  # the number is announced
GROUPED = re.compile(r"(?:\(?\d{2,4}\)?[ .-])?\d{3}-\d{4}(?:-\d{3,4})?|0\d{2,4}[ /-]\d{5,8}")
FOLLOWING = (
    "now|today|tomorrow|tonight|for|to|and|or|if|when|before|after|between|any|as|anytime|immediately|please|instead|again"
    "|from|with|by|in|at|on|und|oder|et|ou|y|o|e|и|или"
)
ENDED = re.compile(
    rf"\s*(?:$|[^\w\s(+*/=-]|\(|- |–|—|(?:{FOLLOWING})\b|[{UNSPACED}\u0370-\u1fff\uac00-\ud7a3])", re.IGNORECASE
)
# Mobile numbers as their countries write them: China; India; 0 and a mobile prefix; Russia.
MOBILE = re.compile(
    rf"(?<!{INSIDE})(?<![.,+])(?<!\d[ /-])(?P<number>(?P<china>1[3-9]\d([ -]?)\d{{4}}\3\d{{4}})|[6-9]\d{{4}} ?\d{{5}}"
    r"|0(?:1\d|[3-9]\d)([ -]?)\d{3,4}\4\d{4}|8[ -]?\(?9\d{2}\)?[ -]?\d{3}[ -]?\d{2}[ -]?\d{2})"
    rf"(?!{INSIDE}|[.,]\d|[ /-]\d)"
)
CONTACT = re.compile(
    rf"(?:\b(?:{OWNED}|call|dial|ring|text|reach|contact|звоните|позвоните|llam[ae]|appel\w*|ruf\w*|liga\w*)\b"
    rf"|{OWNED_UNSPACED}|联系|致电|拨打|撥打|微信|连絡|連絡|연락|ติดต่อ).{{0,16}}$",
    re.IGNORECASE,
)
COUNTED = re.compile(r"\s*[人元个個次年万萬亿億円名件条條美倍字册本天块塊只種种家项項]")
HAN = re.compile(r"[\u4e00-\u9fff]")
DATE = re.compile(r"\d{4}[ ./-]\d{1,2}[ ./-]\d{1,2}|\d{1,2}[ ./-]\d{1,2}[ ./-]\d{4}")
# A number is part of a calculation when an operator and another number, or one side of an equation, are beside it.
CALCULATED_BEFORE = re.compile(
    r"(?:[\d)]\s*[+*×÷/^]\s*|[\d)]\s+[-−–]\s*|(?:[\d)]|\b[a-z])\s*=\s*"
    r"|\b(?:what is|what's|calculate|compute|evaluate|solve|simplify|subtract|difference|sum of|value of)\W{0,3})$",
    re.IGNORECASE,
)
CALCULATED_AFTER = re.compile(r"\s*(?:[+*×÷/^]\s*[\d(]|\s[-−–]\s*[\d(]|=\s*[\d?x])")
FEWEST = 7  # digits of a phone number
BEFORE = 24  # characters before a number that are searched for a word that describes it


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
    """Return text with every find of these kinds replaced by its mask, repeated until none is left."""
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
        if address.version == 4 and _is_version(text, *found.span()):
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


def _is_version(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - BEFORE) : start]
    if VERSIONED.search(before) or RELEASED.match(text, end):
        return True
    plain = all(len(place) == 1 for place in text[start:end].split(".")) and len(set(text[start:end])) > 2
    return plain and not ADDRESSED.search(before) and not re.match(r":\d|/\d", text[end : end + 2])


def _phones(text: str) -> Iterator[tuple[int, int]]:
    found = [m.span() for m in PHONE.finditer(text) if _is_phone(m) and not _calculated(text, *m.span())]
    found += [m.span("number") for m in CALLED.finditer(text) if _is_called(m)]
    found += [m.span("number") for m in MOBILE.finditer(text) if _is_mobile(m) and not _calculated(text, *m.span())]
    end = 0
    for start, stop in sorted((_balanced(text, *span) for span in found), key=lambda span: (span[0], -span[1])):
        if start >= end and sum(map(str.isdigit, text[start:stop])) >= FEWEST:
            end = stop
            yield start, stop


def _balanced(text: str, start: int, stop: int) -> tuple[int, int]:
    """Return start and end of a find without brackets whose other half is outside of it."""
    number = text[start:stop]
    if number.startswith("(") and ")" not in number:
        return start + 1, stop
    depth = 0
    for at, character in enumerate(number):
        depth += (character == "(") - (character == ")")
        opens = character == "(" and ")" not in number[at:]
        if depth < 0 or opens:
            return start, start + len(number[:at].rstrip(" ./-"))
    return start, stop


def _is_called(found: re.Match[str]) -> bool:
    """Whether the word before a number shows that it is a phone number, and not a count."""
    number, link = found["number"], found["link"]
    if DATE.fullmatch(number):
        return False
    if found["unspaced"] is not None:
        return not COUNTED.match(found.string, found.end())
    if not link and not number.startswith("+"):  # dial(1234567), tel1234567
        return False
    if found["verb"] is None and SAID.search(link):
        return True
    if found["verb"] is not None and not (found["whom"] and link.strip(" .-")) and not GROUPED.fullmatch(number):
        return False
    return ENDED.match(found.string, found.end()) is not None


def _is_mobile(found: re.Match[str]) -> bool:
    """Whether the text around a number in the form of a mobile number shows that it is one."""
    text, start, end = found.string, *found.span()
    before = text[max(0, start - BEFORE) : start]
    if not ENDED.match(text, end) or COUNTED.match(text, end):
        return False
    if CONTACT.search(before):
        return True
    return found["china"] is not None and HAN.search(before + text[end : end + BEFORE]) is not None


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
