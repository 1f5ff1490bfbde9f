"""Words of all scripts: marks, units where there are no spaces, powers, formulas and code."""

import random
import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.contamination import numerals
from harness.data.contamination.numerals import in_digits
from harness.data.duplicates import clusters
from harness.data.text import amount, counted, is_operator, joined, keys, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("नदी गहरी है", "नाद गहरा हो"),
        ("কলম নতুন", "কালমি নুতন"),
        ("கல் பெரிது", "கால் பெரிது"),
        ("มา", "มี"),
        ("ភាសា", "ភូសូ"),
        ("မြို့", "မြူ"),
        ("x² + 1", "x2 + 1"),
        ("7³", "73"),
        ("5⁻² m", "52 m"),
        ("3½ cups", "31/2 cups"),
        ("9<sup>2</sup>", "92"),
        ("8₂", "82"),
        (r"\frac{a}{b} + \frac{c}{d}", r"\frac{a}{b} - \frac{c}{d}"),
        (r"$x \leq y$", r"$x \geq y$"),
        (r"$p \cdot q$", r"$p \div q$"),
        ("a + b", "a - b"),
        ("total + tax", "total * tax"),
        ("return total - tax", "return total + tax"),
        ("if n == m:", "if n != m:"),
        ("k += 2", "k -= 2"),
        ("2**5", "2*5"),
        ("written in C", "written in C++"),
        ("written in C", "written in C#"),
        ("if (!ready)", "if (ready)"),
        ("f(-x)", "f(x)"),
    ],
)
def test_other_words(one: str, other: str) -> None:
    assert words(one) != words(other)
    assert clusters([one, other]).to_list() == [0, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("كَتَبَ الوَلَدُ رِسَالَةً", "كتب الولد رسالة"),
        ("كتـــاب", "كتاب"),
        ("سؤال ٤٢", "سؤال 42"),
        ("הַיֶּלֶד אָכַל", "הילד אכל"),
        ("\u0915\u093c\u0932\u092e", "\u0958\u0932\u092e"),
        ("नम\u200dस्ते", "नमस्ते"),
        ("x²", "x^2"),
        ("10⁻³", "10^{-3}"),
        ("2½", "2 1/2"),
        ("3 m²", "3 ㎡"),
        ("H₂O", "H<sub>2</sub>O"),
        (r"\(\frac{1}{2}\times 3\)", r"$\dfrac{1}{2} × 3$"),
        ("a ≤ b", r"a \le b"),
        ("x**2", "x^2"),
        ("**4** + `1`", "4 + 1"),
        ("İZMİR", "izmir"),
        ("She left — they stayed", "She left, they stayed"),
        ("She left - they stayed", "She left, they stayed"),
        ("and/or well-known", "and or well known"),
        ("| cell | other |", "cell other"),
    ],
)
def test_the_same_words(one: str, other: str) -> None:
    assert words(one) == words(other) != ()


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("เด็กกินข้าว", ("เด็", "ก", "กิ", "น", "ข้า", "ว")),
        ("ເດັກນ້ອຍ", ("ເດັ", "ກ", "ນ້", "ອ", "ຍ")),
        ("ស្រីស្អាត", ("ស្រី", "ស្អា", "ត")),
        ("ကလေးငယ်", ("က", "လေး", "ငယ်")),
        ("猫は3匹", ("猫", "は", "3", "匹")),
        ("使用 Python 编程", ("使", "用", "python", "编", "程")),
    ],
)
def test_scripts_without_spaces_are_cut_into_units_and_shown_in_one_piece(text: str, units: tuple[str, ...]) -> None:
    assert words(text) == units
    assert joined(units).replace(" ", "") == "".join(units)
    assert " " not in joined(words("เด็กกินข้าวและดื่มน้ำ"))
    assert amount(words("เด็กกินข้าว and rice")) == 5


SCRIPTS = [
    "अआकखगि ीुू्ंं",
    "กขคงเแโิีุู่้ะา",
    "ابتثجحـًٌَُ",
    "אבגדָֹּ",
    "我你他是在有",
    "かきくがアイウー゛",
    "កខគ្ាិី",
    "ကခဂ္်ာိ",
    "ab 1²½+-*/^=\\{}()$",
]


@given(st.lists(st.sampled_from("".join(SCRIPTS)), max_size=40).map("".join))
def test_words_lose_no_letter_and_are_the_same_in_every_form(text: str) -> None:
    found = words(text)
    for form in ("NFC", "NFD"):
        assert words(unicodedata.normalize(form, text)) == found
    said = "".join(word for word in found if not is_operator(word))
    assert sum(map(str.isalnum, said)) >= sum(unicodedata.category(c) in ("Lo", "Ll", "Nd") for c in text)


@given(st.text(alphabet="aBz é漢ท+-*/=<>!&|%#$\\{}()[]^.,:;'\n\u00b2", max_size=40))
def test_keys_are_words_with_a_space_between(text: str) -> None:
    (key,) = keys([text])
    assert key == " ".join(key.split())
    assert "\0" not in key
    assert keys([f"  {text}\n"]) == [key]


@given(st.lists(st.sampled_from(["tree", "you're", "-", "3.5", "x", "“so”"]), max_size=20).map(" ".join))
def test_counting_is_by_white_space_where_there_is_some(text: str) -> None:
    assert pl.DataFrame({"t": [text]}).select(counted(pl.col("t"))).item() == len(text.split())


def test_counting_scripts_without_spaces() -> None:
    texts = ["我们明天去公园散步。", "他说：“好！” OK then", "เด็กกินข้าว", None]
    assert pl.DataFrame({"t": texts}).select(counted(pl.col("t")))["t"].to_list() == [5, 4, 3, None]


SMALL = list(numerals._UNITS)
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spelled(number: int, rng: random.Random) -> str:
    """Spell a number out, as people do: with or without "and" and hyphens."""
    for scale, name in ((1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= scale:
            rest = number % scale
            head = f"{spelled(number // scale, rng)} {name}"
            return head + (f" {rng.choice(['and ', '']) if rest < 100 else ''}{spelled(rest, rng)}" if rest else "")
    if number < 20:
        return SMALL[number]
    return TENS[number // 10] + (f"{rng.choice(' -')}{SMALL[number % 10]}" if number % 10 else "")


@given(st.integers(0, 999_999_999), st.randoms(use_true_random=False))
def test_numbers_spelled_out_are_numbers(number: int, rng: random.Random) -> None:
    text = f"about {spelled(number, rng)} of these"
    assert in_digits(words(text)) == ("about", str(number), "of", "these")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two three", ("2", "3")),
        ("a hundred and a dozen", ("100", "and", "12")),
        ("between five and ten", ("between", "5", "and", "10")),
        ("5 million, 3 thousand", ("5000000", "3000")),
        ("two point five", ("2.5",)),
        ("a thousand times", ("1000", "times")),
        ("hundreds and a hundred", ("hundreds", "and", "100")),
    ],
)
def test_which_words_are_one_number(text: str, expected: tuple[str, ...]) -> None:
    assert in_digits(words(text)) == expected
