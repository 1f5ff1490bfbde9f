"""Problems in several scripts, in TeX and in code, made from small grammars: different ones differ in what they ask."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """A language of problems.

    Attributes:
        shapes: Sentences with places ``{a}`` to ``{d}`` for words and ``{n}`` for numbers; the last three ask.
        names: The words that stand there.
        space: What stands between sentences.
        strange: Words that are in no problem.
        frame: A text around a problem.
    """

    shapes: tuple[str, ...]
    names: str
    space: str
    strange: str
    frame: str

    @property
    def words(self) -> list[str]:
        """What stands in the places of sentences."""
        return self.names.split(" ")

    def problem(self, rng: random.Random, shapes: Sequence[int]) -> str:
        """Make a problem of some sentences, in their order."""
        names = dict(zip("abcd", rng.sample(self.words, 4), strict=True))
        text = self.space.join(self.shapes[shape] for shape in shapes)
        text = re.sub(r"\{n\}", lambda _: str(rng.randint(2, 97)), text)
        for place, word in names.items():
            text = text.replace(f"{{{place}}}", word)
        return text


LANGUAGES = {
    "English": Language(
        (
            "{a} bought {n} pounds of {b} at the market and carried them home.",
            "The neighbour lent {n} dollars for mending {c} last winter.",
            "On Monday heavy rain fell in {d} and the roads were closed.",
            "The price of {b} rises by {n} dollars every single month.",
            "Children of the village walked to {d} early to look at {c}.",
            "Tell me how many {b} are left with {a} in the end?",
            "How long does {a} need until {c} comes into sight?",
            "Will {b} in {d} ever become cheaper again?",
        ),
        "farmers merchants apples barley rivers Lisbon temples novels horses herrings "
        "teachers pupils gardens festivals sweets barges",
        " ",
        "window perhaps ancient always",
        "Hello, please help me. {} Thank you so much!",
    ),
    "Hindi": Language(
        (
            "{a} ने बाज़ार से {n} किलो {b} खरीदे और घर ले आया।",
            "उसके पड़ोसी ने {c} के लिए {n} रुपये उधार दिए थे।",
            "सोमवार को {d} में भारी बारिश हुई और सड़कें बंद रहीं।",
            "{b} की कीमत हर महीने {n} रुपये बढ़ती जाती है।",
            "गाँव के बच्चे {c} देखने {d} तक पैदल गए।",
            "बताइए कि {a} के पास कितने {b} बचे होंगे?",
            "{c} तक पहुँचने में {a} को कितना समय लगेगा?",
            "क्या {d} में {b} फिर से सस्ते हो जाएँगे?",
        ),
        "किसान दुकानदार सेब चावल नदी शहर मंदिर पुस्तक घोड़ा मछली लड़की लड़का माली मेला मिठाई बादल",
        " ",
        "शायद पुराना हमेशा खिड़की",
        "नमस्ते, मेरी मदद कीजिए। {} धन्यवाद!",
    ),
    "Thai": Language(
        (
            "{a}ซื้อ{b}จากตลาดจำนวน {n} กิโลกรัมแล้วนำกลับบ้าน",
            "เพื่อนบ้านให้ยืมเงิน {n} บาทเพื่อซ่อม{c}",
            "วันจันทร์ที่{d}ฝนตกหนักจนถนนถูกปิด",
            "ราคาของ{b}เพิ่มขึ้นเดือนละ {n} บาท",
            "เด็กในหมู่บ้านเดินไปดู{c}ที่{d}ตั้งแต่เช้า",
            "อยากรู้ว่า{a}จะเหลือ{b}อยู่เท่าไร",
            "{a}ต้องใช้เวลานานแค่ไหนจึงจะไปถึง{c}",
            "ปีหน้า{b}ใน{d}จะถูกลงอีกหรือไม่",
        ),
        "ชาวนา พ่อค้า ส้มโอ ข้าวสาร แม่น้ำ เมืองหลวง วัดเก่า หนังสือ ม้าขาว ปลาทู ครูใหญ่ นักเรียน ดอกไม้ งานวัด ขนมหวาน เรือหางยาว",
        " ",
        "หน้าต่าง บางที โบราณ เสมอ",
        "สวัสดีครับ ช่วยหน่อย {} ขอบคุณมาก",
    ),
    "Arabic": Language(
        (
            "اشترى {a} من السوق {n} كيلوغراما من {b} وعاد إلى البيت.",
            "أعار الجار {n} دينارا لإصلاح {c} القديم.",
            "هطل المطر بغزارة في {d} يوم الاثنين وأغلقت الطرق.",
            "يرتفع سعر {b} كل شهر بمقدار {n} دينارا.",
            "ذهب أطفال القرية مشيا إلى {d} لمشاهدة {c} صباحا.",
            "كم يبقى عند {a} من {b} في النهاية؟",
            "كم من الوقت يحتاج {a} ليصل إلى {c}؟",
            "هل ينخفض ثمن {b} في {d} مرة أخرى؟",
        ),
        "الفلاح التاجر التفاح الأرز النهر المدينة المسجد الكتاب الحصان السمك المعلم الطالب الزهور المعرض الحلوى القارب",
        " ",
        "نافذة ربما دائما هناك",
        "مرحبا، ساعدني من فضلك. {} شكرا جزيلا!",
    ),
    "Chinese": Language(
        (
            "{a}从市场买了{n}公斤{b}带回家。",
            "邻居借给他{n}元钱用来修理{c}。",
            "星期一{d}下了大雨所以道路封闭。",
            "{b}的价格每个月上涨{n}元。",
            "村里的孩子们一大早步行去{d}看{c}。",
            "请问最后{a}还剩下多少{b}？",
            "{a}需要多长时间才能到达{c}？",
            "明年{d}的{b}会不会再次降价？",
        ),
        "农民 商人 苹果 大米 河流 首都 寺庙 书籍 白马 鲤鱼 老师 学生 花园 庙会 糖果 木船",
        "",
        "窗户 也许 古老 总是",
        "你好，请帮帮我。{}谢谢你！",
    ),
    "Japanese": Language(
        (
            "{a}は市場で{b}を{n}キロ買って家に帰りました。",
            "隣の人は{c}を直すために{n}円を貸してくれました。",
            "月曜日に{d}で大雨が降って道路が閉鎖されました。",
            "{b}の値段は毎月{n}円ずつ上がります。",
            "村の子どもたちは朝早く{d}まで歩いて{c}を見に行きました。",
            "最後に{a}の手元に{b}はいくつ残りますか？",
            "{a}が{c}に着くまでどのくらい時間がかかりますか？",
            "来年{d}で{b}はまた安くなるでしょうか？",
        ),
        "農夫 商人 りんご お米 川辺 都会 神社 書物 白い馬 さかな 先生 生徒 花畑 お祭り お菓子 渡し船",
        "",
        "窓辺 おそらく 古い いつも",
        "こんにちは、教えてください。{}よろしくお願いします。",
    ),
    "TeX": Language(
        (
            r"Let $f(x) = {n}x^2 - \frac{{a}}{{n}}$ and assume $x \geq {n}$.",
            r"Suppose that ${b}_1 + {b}_2 \cdot {n} = {c}^{n}$.",
            r"The sum $\sum_{k=1}^{{n}} k^{{d}}$ is at most $\sqrt{{n}}$.",
            r"Consider $\int_0^{{n}} {a}(t) - {c}(t)\,dt$ over ${d}$.",
            r"Here ${b} \times {c}$ is taken modulo ${n}$.",
            r"Find all ${a}$ with $\frac{{b}}{{c}} + {n} \leq {d}$.",
            r"Compute $\lim {a}^{-{n}} \div {d}$ in lowest terms.",
            "Show that ${c} - {d} \\neq {n}{b}$ for odd ${a}$.",
        ),
        r"\alpha \beta \gamma \delta \lambda \mu \theta \phi p q r s u v w z",
        " ",
        "therefore compact whenever",
        "Please solve this carefully.\n\n{}\n\nShow your work.",
    ),
    "code": Language(
        (
            "def {a}({b}, {c}):\n    return {b} * {n} + {c}",
            "for {d} in range({n}):\n    total += {d} - {b}[{n}]",
            "if {a} <= {n} and {c} != {d}:\n    {c} = {a} % {n}",
            "while {b} > {n}:\n    {b} -= {d} // {n}",
            "{c} = [{a} ** {n} for {a} in {d} if {a} > {n}]",
            "print({a}({n}, {b}) == {c})",
            "assert {d} >= {n} or not {a}, {c}",
            "return sorted({b}, key={a})[:{n}]",
        ),
        "count price tax rows index limit score rate weight depth queue cache token label width seed",
        "\n",
        "banana window river",
        "What does this print?\n{}\nExplain in a word.",
    ),
}

ASKED = ((0, 1, 5), (0, 2, 6), (1, 0, 6), (2, 1, 0, 5), (1, 2, 5), (2, 0, 1, 6))  # what problems of a suite are made of
UNASKED = (3, 4, 7)
OTHERS = ((0, 3, 7), (4, 1, 7), (3, 2, 7), (4, 3, 5), (3, 4, 6))  # share a sentence with some, and ask another thing
Change = Callable[[str, "Language", random.Random], str]


def replaced(text: str, language: Language, rng: random.Random) -> str:
    """Replace a word of the problem that is not a number by one that is in none, once in a dozen words."""
    inside = [word for word in language.words if word in text]
    return text.replace(rng.choice(inside), rng.choice(language.strange.split(" ")), 1)


def respaced(text: str, language: Language, rng: random.Random) -> str:
    """Change white space: more where there is some, some in scripts that have none."""
    if language.space == "":
        return re.sub(r"(?<=[^\W\d])(?=[^\W\d])", lambda _: rng.choice(("", "", "", " ", "\n")), text)
    return "".join(rng.choice((" ", "  ", "\u00a0", "\t")) if c == " " else c for c in text)


def renumbered(text: str, language: Language, rng: random.Random) -> str:
    """Every number becomes another: the same problem, asked anew."""
    return re.sub(r"\d+", lambda found: str(int(found[0]) + rng.randint(1, 9)), text)


def shuffled(text: str, language: Language, rng: random.Random) -> str:
    """Put the last sentence first."""
    parts = [part for part in re.split(r"(?<=[.?!。？！।؟])\s*|\n(?! )|(?<=\w) (?=[ก-๙]{12})", text) if part]
    return (language.space or "").join([parts[-1], *parts[:-1]])


CHANGES: dict[str, Change] = {
    "verbatim": lambda text, language, rng: text,
    "framed": lambda text, language, rng: language.frame.replace("{}", text),
    "embedded": lambda text, language, rng: (
        f"{language.problem(rng, UNASKED)}\n\n{text}\n\n{language.problem(rng, UNASKED)}"
    ),
    "respaced": respaced,
    "replaced": replaced,
    "shuffled": shuffled,
}
