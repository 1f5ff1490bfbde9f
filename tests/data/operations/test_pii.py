"""Personal data against labelled texts: what must be found, whole, and what must be left alone."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.operations.pii import MASKS, NAMES, SUSPECT, mask, spans
from harness.data.rows import frame
from harness.spec import Pii
from tests.data.operations.made import conversation, do, places, table

HITS = [
    ("write to bob@example.com today", "write to <EMAIL> today"),
    ("BOB.Smith+tag@mail.example.co.uk", "<EMAIL>"),
    ("<bob@example.com>", "<<EMAIL>>"),
    ("mailto:bob_smith@example.org.", "mailto:<EMAIL>."),
    ("“jane.doe@uni-köln.de”", "“<EMAIL>”"),
    ("o'neil@example.ie is mine", "<EMAIL> is mine"),
    ("call me at 555-0123-999", "call me at <PHONE>"),
    ("(212) 555-0123", "<PHONE>"),
    ("212-555-0123", "<PHONE>"),
    ("212.555.0123", "<PHONE>"),
    ("1-800-555-0199", "<PHONE>"),
    ("+1 (212) 555-0123", "<PHONE>"),
    ("+1-212-555-0123", "<PHONE>"),
    ("+12125550123", "<PHONE>"),
    ("+44 20 7946 0958", "<PHONE>"),
    ("+44 (0)20 7946 0958", "<PHONE>"),
    ("+49 30 123456", "<PHONE>"),
    ("+33 6 12 34 56 78", "<PHONE>"),
    ("+91 98765 43210", "<PHONE>"),
    ("020 7946 0958", "<PHONE>"),
    ("(020) 7946 0958", "<PHONE>"),
    ("0412 345 678", "<PHONE>"),
    ("06 12 34 56 78", "<PHONE>"),
    ("Tel: 5551234567", "Tel: <PHONE>"),
    ("phone number is 555 1234", "phone number is <PHONE>"),
    ("Phone: 030/1234567", "Phone: <PHONE>"),
    ("192.168.0.1", "<IP>"),
    ("ip=10.0.0.7", "ip=<IP>"),
    ("http://8.8.8.8/dns", "http://<IP>/dns"),
    ("8.8.8.8:53", "<IP>:53"),
    ("server 203.0.113.254.", "server <IP>."),
    ("2001:db8::1", "<IP>"),
    ("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "<IP>"),
    ("fe80::1ff:fe23:4567:890a", "<IP>"),
    ("[2001:db8::1]:443", "[<IP>]:443"),
    ("::ffff:192.0.2.128", "::ffff:<IP>"),
    ("fe80::1", "<IP>"),
    ("4111 1111 1111 1111", "<CARD>"),
    ("4111111111111111", "<CARD>"),
    ("5500-0000-0000-0004", "<CARD>"),
    ("3782 822463 10005", "<CARD>"),
    ("378282246310005", "<CARD>"),
    ("6011111111111117", "<CARD>"),
    ("card 4012888888881881.", "card <CARD>."),
    ("Fax 030 1234567, Tel. 089 7654321", "Fax <PHONE>, Tel. <PHONE>"),
    ("Ping 10.1.2.3 and 10.1.2.4!", "Ping <IP> and <IP>!"),
    ("reach us at (800) 555-0100 or sales@acme.io", "reach us at <PHONE> or <EMAIL>"),
    ("Téléphone : 01 23 45 67 89", "Téléphone : <PHONE>"),
    ("WhatsApp +55 11 91234-5678", "WhatsApp <PHONE>"),
    ("card=4111111111111111; phone = '212-555-0123'", "card=<CARD>; phone = '<PHONE>'"),
    ("contact = 212-555-0123", "contact = <PHONE>"),
    ("pay 5105105105105100 now", "pay <CARD> now"),
    ("a.b@c.de,d@e.fr;f@g.org", "<EMAIL>,<EMAIL>;<EMAIL>"),
    ("my number: (123) 456-7891", "my number: <PHONE>"),
    ("+1.415.555.2671", "<PHONE>"),
    ("fd12:3456:789a::1", "<IP>"),
    ("call 555-0134 now", "call <PHONE> now"),
    ("Call us at 5550134567 tomorrow.", "Call us at <PHONE> tomorrow."),
    ("联系电话：021-61234567", "联系电话：<PHONE>"),
    ("请打15900001234找我", "请打<PHONE>找我"),
    ("手机 159-0000-1234。", "手机 <PHONE>。"),
    ("携帯は090-1234-5678です", "携帯は<PHONE>です"),
    ("연락처 010-1234-5678", "연락처 <PHONE>"),
    ("मोबाइल 98765 01234", "मोबाइल <PHONE>"),
    ("тел. 8 (912) 345-67-89", "тел. <PHONE>"),
    ("Tel: (5550134)", "Tel: (<PHONE>)"),
    ("phone 555 0134 (since 2019)", "phone <PHONE> (since 2019)"),
    ("邮箱bob@example.com请回复", "邮箱<EMAIL>请回复"),
    ("サーバー192.168.7.20に", "サーバー<IP>に"),
    ("ping 1.2.3.4", "ping <IP>"),
]
MISSES = [
    "The broadcast may reach 24000000 homes",
    "we call 3500000 handlers per hour",
    "They text 1500000 words.",
    "ring(7654321)",
    "dial(5550134)",
    "Dial 400000 500000 600000",
    "We phone 2000000 people a year",
    "reach 1.200.000 people",
    "call 5550134567 functions",
    "固件 2.4.1.7 已发布",
    "バージョン3.1.4.2を公開",
    "Версия 10.2.3.4",
    "เวอร์ชัน 4.0.12.3",
    "الإصدار 2.1.0.9",
    "2.0.1.5",
    "总价15900001234元",
    "共有 13900000000 人",
    "f(x) = 212-555-0123",
    "n = 4111111111111111",
    "In 1999 and 2024 there were 365 days",
    "1234567 + 7654321 = 8888888",
    "4111111111111111 + 2",
    "What is 900-300-2000?",
    "Compute 500-200-1000",
    "123 456 7890",
    "200 300 4000",
    "3.14159265358979",
    "0.4111111111111111",
    "version 1.2.3.4",
    "v1.2.3.4",
    "Chrome/120.0.6099.109",
    "pip install foo==1.2.3.4",
    "foo-1.2.3.4.jar",
    "Section 1.2.3.4",
    "12:30:45",
    "at 07:30 on 2024-01-15",
    "2024-01-15 07:30:00",
    "01/02/2024",
    "01-02-2024",
    "1,234,567,890",
    "$1,000,000",
    "10000000000000",
    "x = 12345678901234",
    "1 2 3 4 5 6 7 8 9",
    "10 20 30 40 50 60 70",
    "x[1::2] and x[::2]",
    "std::vector<int>",
    "a::b",
    "00:1A:2B:3C:4D:5E",
    "@user says hi",
    "user@ example.com",
    "a@b",
    "icon@2x.png",
    "git@github.com:org/repo.git",
    "ISBN 978-3-16-148410-0",
    "1234 5678 9012 3456",
    "1111 1111 1111 1111",
    "0000000000000000",
    "100000-50000-20000",
    "The phone cost 1000000 dollars",
    "12345678901 - 2345678901",
    "256.256.256.256",
    "1.2.3.4.5",
    "127 + 255 + 1024",
    "01 02 03 04 05",
    "3 + 44 20 7946 0958",
    "2^31 = 2147483648",
    "5 +12345678901",
    "00101101010",
    "order 20240115123456",
    "he called 3 times and 1234567 people heard",
    "999-99-9999",
    "1e10 and 6.02214076e23",
    "1/2/3/4/5/6/7",
    "#### 72",
    "A shop sold 4532015112830366 / 2 grains",
    "He ran 1500, 2000, 2500, 3000 and 3500 meters",
    "Score: 21-15, 19-21, 15-13",
    "from 1914-1918 to 1939-1945",
    "Temperature -12.5 to +37.2",
    "f(x) = 3x + 5551234567",
    "coordinates 52.5200, 13.4050",
    "the years 2001 2002 2003 2004",
    "#FF00FF or 0x1A2B3C4D",
    "time 1:23:45.678",
    "ratio 3:4:5",
    "9876543210123456789",
    "SKU 0012-3456",
    "pi is about 3.141592653589793238",
    "1.1.1 and 2.10.3",
    "python 3.11.7",
    "5:30 pm to 6:45 pm",
    "8:00-12:00, 13:00-17:00",
    "€1.234.567,89",
    "100.000.000 people",
    "x[2::3]",
    "at 10% or 20%",
    "100 200 300 = 600",
    "2024.01.15",
    "15.01.2024 12:30",
]
PIECES = st.sampled_from(
    [text for text, _ in HITS]
    + MISSES
    + ["@", ".", ":", "-", "+", "0", "7", "12", "::", "call ", "a", "(", ")", " ", "=", "v"]
)
MIXED = st.lists(PIECES, max_size=5).map("".join)


@pytest.mark.parametrize(("text", "wanted"), HITS)
def test_personal_data_is_masked(text: str, wanted: str) -> None:
    assert do(table(text), Pii()).rows["completion"].to_list() == [wanted]
    assert do(table(text), Pii(action="drop")).drops.height == 1


@pytest.mark.parametrize("text", MISSES)
def test_what_only_looks_like_it_stays(text: str) -> None:
    rows = table(text)
    assert do(rows, Pii()).rows.equals(rows)
    assert do(rows, Pii(action="drop")).rows.equals(rows)


@settings(deadline=None, max_examples=200)
@given(MIXED)
def test_masking_twice_is_masking_once_and_leaves_nothing_to_find(text: str) -> None:
    once = mask(text, tuple(MASKS))
    assert mask(once, tuple(MASKS)) == once
    assert not any(list(spans(once, kind)) for kind in MASKS)


@settings(deadline=None, max_examples=200)
@given(MIXED)
def test_texts_that_are_not_looked_at_hold_nothing(text: str) -> None:
    looked_at = pl.Series([text]).str.contains(SUSPECT)[0]
    assert looked_at or mask(text, tuple(MASKS)) == text


@settings(deadline=None, max_examples=100)
@given(MIXED)
def test_masking_and_dropping_agree(text: str) -> None:
    rows = table(text)
    changed = not do(rows, Pii()).rows.equals(rows)
    assert changed == bool(do(rows, Pii(action="drop")).drops.height)


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="0123456789 .,+-*/=()$%x", max_size=24).filter(lambda text: "@" not in text))
def test_digits_go_only_where_seven_of_them_are_close(text: str) -> None:
    """Whatever is masked in a calculation has seven digits with little between them, or is an IP address."""
    for kind in MASKS:
        for start, end in spans(text, kind):
            assert len(re.sub(r"\D", "", text[start:end])) >= (4 if kind == "ip" else 7)


@pytest.mark.timeout(60)
def test_long_texts_take_no_longer_than_their_length_asks_for() -> None:
    for piece in ("1", "+1", "a@", "1.", "a.", "::", "0 ", "+1 (2) 3 ", "call ", "a:", "4111 ", "ab-"):
        assert mask(piece * 60_000, tuple(MASKS))


def test_a_reason_names_the_kinds_and_never_the_data() -> None:
    rows = table("fine", "bob@example.com, 212-555-0123", "10.1.2.3 and 4111111111111111")
    built = do(rows, Pii(action="drop"))
    assert places(built.rows) == [0]
    assert built.drops["reason"].to_list() == [
        "holds e-mail address and phone number",
        "holds IP address and card number",
    ]


def test_only_the_kinds_asked_for() -> None:
    text = "bob@example.com 212-555-0123 10.1.2.3 4111111111111111"
    assert mask(text, ("email", "ip")) == "<EMAIL> 212-555-0123 <IP> 4111111111111111"
    assert set(MASKS) == set(NAMES) == set(get_args(get_args(Pii.model_fields["kinds"].annotation)[0]))


def test_every_message_is_looked_at() -> None:
    rows = frame([conversation("I am bob@example.com", "Hello", "or 10.1.2.3", "<EMAIL>?")])
    contents = [turn["content"] for turn in json.loads(do(rows, Pii()).rows["messages"][0])]
    assert contents == ["I am <EMAIL>", "Hello", "or <IP>", "<EMAIL>?"]
    assert do(rows, Pii(action="drop")).drops["reason"].to_list() == ["holds e-mail address and IP address"]


@pytest.mark.acceptance
def test_maths_problems_hold_no_personal_data(acceptance_data: Path) -> None:
    """Thousands of word problems full of numbers, without one address or phone number among them."""
    texts: list[Any] = []
    for path in sorted((acceptance_data / "math").glob("*.jsonl")):
        for line in path.read_text().strip().split("\n"):
            texts += [value for value in json.loads(line).values() if isinstance(value, str)]
    assert len(texts) > 10_000
    assert do(table(*texts), Pii(action="drop")).drops.to_dicts() == []
