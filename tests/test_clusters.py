import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.clusters import NEARLY_ALL, Asked, clusters, documents

WORDS = [
    "amber", "basin", "cedar", "delta", "ember", "fjord", "glade", "heath", "islet", "knoll", "ledge", "marsh", "north",
    "ocean", "plain", "quarry", "ridge", "shore", "thorn", "upland", "valley", "waste", "yarrow", "zephyr", "brook",
    "cliff", "dune", "eddy", "fern", "gorge", "holly", "ivory", "juniper", "kelp", "larch", "moss", "nettle", "orchid",
]  # fmt: skip
NAMES = ("Ada", "Bo", "Carla", "Dmitri", "Élodie", "Farid", "Gwen", "Hiroshi", "Ines", "Jan-Erik", "Van Dyk", "Olga")
STORIES = (
    "{n} packed {k} crates with plums and sold half of them at the harbour before noon. How many crates are left?",
    "A train leaves with {k} passengers; at the second stop {n} counts {k} people getting off. Who is still on board?",
    "If {n} reads {k} pages on every weekday and none at all on Sunday, how long does a thick novel take?",
    "Each of the {k} gardeners plants tulips in rows, and {n} waters every third one. How much water is needed?",
)


def sentence(rng: random.Random, length: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(length))


def asked(texts: list[str], part: str = "a") -> list[Asked]:
    return [Asked(f"{index:04}", part, text) for index, text in enumerate(texts)]


def sets(items: list[Asked]) -> set[frozenset[str]]:
    found = clusters(items)
    return {frozenset(item for item, name in found.items() if name == cluster) for cluster in found.values()}


@st.composite
def told(draw: st.DrawFn) -> tuple[list[str], set[frozenset[str]]]:
    """Stories told with other numbers and names, passages with questions, and items on their own, in any order."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    groups = []
    for story in STORIES[: draw(st.integers(0, 4))]:
        groups.append([story.format(n=rng.choice(NAMES), k=rng.randint(2, 9999)) for _ in range(rng.randint(2, 5))])
    for _ in range(draw(st.integers(0, 4))):
        passage = f"{sentence(rng, rng.randint(20, 60))}. "
        questions = [sentence(rng, rng.randint(3, 30)) for _ in range(rng.randint(2, 5))]
        groups.append([passage + q if rng.random() < 0.7 else f"{q}? {passage}" for q in questions])
    groups += [[f"{sentence(rng, rng.randint(3, 25))}?"] for _ in range(12)]
    texts = [(text, number) for number, group in enumerate(groups) for text in group]
    rng.shuffle(texts)
    of: dict[int, set[str]] = {}
    for index, (_, number) in enumerate(texts):
        of.setdefault(number, set()).add(f"{index:04}")
    return [text for text, _ in texts], {frozenset(held) for held in of.values() if len(held) > 1}


@given(told())
@settings(deadline=None)
def test_what_shares_a_passage_or_a_wording_is_a_cluster_and_nothing_else(
    given_: tuple[list[str], set[frozenset[str]]],
) -> None:
    texts, expected = given_
    assert sets(asked(texts)) == expected


@given(told(), st.randoms())
@settings(deadline=None)
def test_the_order_of_items_makes_no_difference(
    given_: tuple[list[str], set[frozenset[str]]], rng: random.Random
) -> None:
    items = asked(given_[0])
    turned = items.copy()
    rng.shuffle(turned)
    assert clusters(turned) == clusters(items)


@given(told())
@settings(deadline=None)
def test_another_item_changes_no_cluster(given_: tuple[list[str], set[frozenset[str]]]) -> None:
    items = asked(given_[0])
    more = [*items, Asked("9999", "a", "An entirely different matter: what do penguins eat when the ice is late?")]
    assert clusters(more) == clusters(items)


@given(st.data())
@settings(deadline=None)
def test_other_numbers_and_names_leave_the_clusters_as_they_are(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    passages = [f"{{n}} met {{m}} in {{k}}. {sentence(rng, 12)} with {{n}} and {sentence(rng, 10)}." for _ in range(3)]
    frames = [*STORIES, *(f"{passage} {sentence(rng, 6)}?" for passage in passages for _ in range(3))] * 2

    def names() -> list[str]:
        return [
            frame.format(n=rng.choice(NAMES), m=rng.choice(NAMES), k=rng.choice(("7", "1,204.5", "12:30", "forty")))
            for frame in frames
        ]

    assert sets(asked(names())) == sets(asked(names()))
    assert len(sets(asked(names()))) == 7


def test_a_template_that_all_items_share_is_the_task() -> None:
    rng = random.Random(1)
    for template in ("Q: {} + {} =", "What is the sum of {} and {}, in plain digits?"):
        sums = [template.format(rng.randint(1, 99), rng.randint(1, 99)) for _ in range(200)]
        assert clusters(asked(sums)) == {}
    most = [STORIES[0].format(n=rng.choice(NAMES), k=rng.randint(2, 99)) for _ in range(95)]
    rest = [STORIES[1].format(n=rng.choice(NAMES), k=rng.randint(2, 99)) for _ in range(5)]
    assert sets(asked(most + rest)) == {frozenset(f"{index:04}" for index in range(95, 100))}


def test_templates_that_divide_the_task_are_clusters() -> None:
    rng = random.Random(2)
    texts = [story.format(n=rng.choice(NAMES), k=rng.randint(2, 99)) for story in STORIES for _ in range(25)]
    assert sorted(map(len, sets(asked(texts)))) == [25, 25, 25, 25]


def test_an_instruction_around_all_items_of_a_part_is_no_passage() -> None:
    rng = random.Random(3)
    head = (
        "Read what follows with care, then choose the one answer that suits the question best of all those given here:"
    )
    tail = (
        "Answer with the letter alone, and say nothing else before or after it, whatever the question may seem to want."
    )
    texts = [f"{head} {sentence(rng, 14)}? {tail}" for _ in range(30)]
    assert clusters(asked(texts)) == {}
    other = [f"{tail} {sentence(rng, 14)}? {head}" for _ in range(30)]
    parts = [Asked(f"{i:04}", "a" if i < 30 else "b", text) for i, text in enumerate(texts + other)]
    assert clusters(parts) == {}
    passage = sentence(rng, 25)
    two = [Asked(f"x{i}", "a", f"{head} {passage} {sentence(rng, 5)}? {tail}") for i in range(3)]
    assert sets([*parts, *two]) == {frozenset(("x0", "x1", "x2"))}


@pytest.mark.parametrize(
    "story",
    [
        "{n} के पास {k} सेब हैं और वह बाज़ार से कुछ और सेब खरीदकर अपने मित्रों में बाँट देती है। अब कितने सेब बचे?",
        "{n}有{k}个苹果,又从市场上买了一些苹果分给朋友们吃,请问现在篮子里一共还剩下多少个苹果?",
        "لدى {n} عدد {k} من التفاح ثم اشترت المزيد من السوق ووزعته على أصدقائها في المساء فكم تفاحة بقيت معها الآن",
        "{n} hat {k} Äpfel und kauft auf dem Markt noch ein paar dazu, um sie zu teilen. Wie viele bleiben übrig?",
    ],
    ids=["hindi", "chinese", "arabic", "german"],
)
def test_names_need_no_capitals(story: str) -> None:
    names = {"ह": ("रवि", "सीता", "मोहन"), "有": ("小明", "小红", "老王"), "ل": ("سلمى", "ليلى", "مريم")}
    own = next((known for sign, known in names.items() if sign in story), ("Anna", "Bernd", "Clara"))
    texts = [story.format(n=name, k=index + 3) for index, name in enumerate(own)]
    rng = random.Random(4)
    assert sets(asked([*texts, *(sentence(rng, 15) for _ in range(10))])) == {frozenset(("0000", "0001", "0002"))}


def test_german_nouns_are_no_names() -> None:
    texts = ["Wie viele Beine hat eine Spinne in der Regel?", "Wie viele Monde hat ein Planet in der Regel?"]
    assert clusters(asked([*texts, *(f"{word} was es ist" for word in WORDS)])) == {}


def test_questions_alike_in_form_only_stay_apart() -> None:
    texts = [
        "Which of the following best describes the function of mitochondria?",
        "Which of the following best describes the function of ribosomes?",
        "What is the term for the process by which plants make sugar?",
        "What is the term for the process by which water turns into steam?",
        "The cat sat on the mat. What will others want to do next?",
        "A dog ran past the old mill. What will others want to do next?",
    ]
    assert clusters(asked([*texts, *WORDS])) == {}


def test_items_told_by_their_options_alone() -> None:
    rng = random.Random(5)
    alike = [Asked(f"a{i}", "a", "", (f"{name} went back home very early.", f"{name} gone back home very early."))
             for i, name in enumerate(NAMES[:4])]  # fmt: skip
    others = [Asked(f"b{i}", "a", "", (sentence(rng, 6), sentence(rng, 6))) for i in range(20)]
    assert sets([*alike, *others]) == {frozenset(("a0", "a1", "a2", "a3"))}


def test_fields_that_name_a_source() -> None:
    assert documents({"passage_id": 4, "question": "x", "id": 9}) == ("passageid: 4",)
    assert documents({"Passage": "too short to tell", "title": "", "context": None, "doc_id": True}) == ()
    assert documents({"doc_id": -1, "passage_id": "N/A", "story_id": "None", "article": "unknown"}) == ()
    assert documents({"contextId": "", "story": " ".join(WORDS)}) == (f"story: {' '.join(WORDS)}",)
    items = [Asked(f"{i}", "a", f"{WORDS[i]} {WORDS[-i]}?", documents=documents({"docId": i // 3})) for i in range(12)]
    assert sorted(map(len, sets(items))) == [3, 3, 3, 3]
    one = [Asked(f"{i}", "a", WORDS[i], documents=("docid: 1",) if i < 12 * NEARLY_ALL else ()) for i in range(12)]
    assert clusters(one) == {}


def test_no_words_no_cluster() -> None:
    assert clusters([]) == {}
    assert clusters(asked(["", "", "7", "  ", "\x00", "..."])) == {}
    assert clusters([Asked("a", "a", "x"), Asked("b", "b", "x")]) == {}


@pytest.mark.slow
def test_ten_thousand_items_take_seconds() -> None:
    rng = random.Random(6)
    passages = [sentence(rng, 80) for _ in range(1000)]
    texts = [f"{passages[index // 10]}. {sentence(rng, 12)}?" for index in range(10_000)]
    began = time.process_time()
    found = sets(asked(texts))
    assert time.process_time() - began < 30
    assert sorted(map(len, found)) == [10] * 1000
