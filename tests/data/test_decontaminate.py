import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import contamination
from harness.data.contamination import Search, overlaps, removable, remove, scan
from harness.data.rows import OVERLAP_SCHEMA, frame
from harness.data.text import words
from harness.spec import Decontaminate

LONG = "A plane travels 1200 miles in 3 hours. How many more hours would another 2000 miles take at that rate?"
SHORT = "What is the largest organ of the human body?"
RULE = Decontaminate()


def items(
    *questions: str, task: str = "t", answer: str = "yes", wrapper: str = "{}", choices: tuple[str, ...] = ()
) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "item_id": f"{task}-{index}", "task": task, "subtask": task, "index": index, "doc_digest": "",
                "question": wrapper.format(question) if question else "", "answer": answer, "choices": list(choices),
                "slice": None, "group": None, "half": "selection",
            }
            for index, question in enumerate(questions)
        ],
        schema_overrides={"slice": pl.String, "group": pl.String, "choices": pl.List(pl.String)},
    )  # fmt: skip


def rows(*prompts: str, completion: str = "") -> pl.DataFrame:
    return frame([{"source": "s", "prompt": prompt, "completion": completion} for prompt in prompts])


def kinds(training: pl.DataFrame, suite: pl.DataFrame, rule: Decontaminate = RULE) -> list[str]:
    return overlaps(training, suite, rule)["kind"].to_list()


# --------------------------------------------------------------------------------------------------------- kinds


def test_long_items_are_found_by_a_run_of_words() -> None:
    line = "\n".join(LONG.upper().split()[3:17])
    found = overlaps(rows("Tell me a story", f"Before. {line} after"), items(SHORT, LONG), RULE)
    assert found.schema == OVERLAP_SCHEMA
    (hit,) = found.to_dicts()
    assert (hit["item_id"], hit["kind"]) == ("t-1", "ngram")
    assert hit["score"] == pytest.approx(13 / (len(words(LONG)) - 1))
    assert hit["span"] == " ".join(words(LONG)[3:17])
    assert kinds(rows(" ".join(LONG.split()[3:15])), items(LONG)) == []
    assert kinds(rows(" ".join(LONG.split()[3:15])), items(LONG), Decontaminate(ngram=12)) == ["ngram"]


def test_short_items_are_found_whole_or_not_at_all() -> None:
    assert kinds(rows(f"Quiz! {SHORT} I wonder"), items(SHORT)) == ["whole"]
    assert kinds(rows("What is the largest organ of the"), items(SHORT)) == []
    assert kinds(rows("What is the largest organ of", completion="the human body"), items(SHORT)) == ["whole"]


def test_the_shortest_items_are_found_only_as_they_stand() -> None:
    suite = items("Why me?")
    assert kinds(rows("why me"), suite) == ["exact"]
    assert kinds(rows("why", completion="me"), suite) == ["exact"]
    assert kinds(rows("Tell me why me and not you"), suite) == []


def test_messages_are_searched() -> None:
    turns = [{"role": "user", "content": "Why me?"}, {"role": "assistant", "content": f"Because. {SHORT}"}]
    training = frame([{"source": "s", "messages": json.dumps(turns)}])
    assert kinds(training, items("Why me?", SHORT)) == ["whole", "exact"]


def test_an_item_without_a_question_is_its_answer() -> None:
    suite = items("", answer="Mary should criticize herself.")
    assert kinds(rows("She said: mary should criticize herself!"), suite) == ["whole"]
    assert kinds(rows("anything"), items("", answer="")) == []


def test_a_sum_is_not_in_a_longer_sum() -> None:
    suite = items("Compute 14 - 3")
    assert kinds(rows("compute 14-3 = 11", "compute 14 - 3 + 2", "compute 14 - 31"), suite) == ["whole"]


# ------------------------------------------------------------------------------------------------------ wrappers


@pytest.mark.parametrize(
    "wrapper", ["{}", "Question: {}\nAnswer:", "Q: {}\nA:", "You are a kind teacher. Answer: {} Say why."]
)
def test_wrappers_do_not_hide_items(wrapper: str) -> None:
    others = [
        "Why do cats purr?",
        "Where is Lima?",
        "Who wrote Emma?",
        "How far is Mars?",
        "When was Nero born?",
    ]
    suite = items(SHORT, LONG, *others, wrapper=wrapper)
    assert kinds(rows(f"Hm. {SHORT}", f"Hm. {LONG}", "hm, where is Limassol?"), suite) == ["whole", "ngram"]


def test_short_sums_are_found_in_another_wrapper() -> None:
    suite = items(*(f"{n} + 5" for n in range(10, 20)), wrapper="Q: {} =\nA:")
    training = rows(*(f"Please compute {n}+5!" for n in range(15, 25)))
    assert overlaps(training, suite, RULE)["item_id"].to_list() == [f"t-{n}" for n in range(5, 10)]


INSTRUCTION = "You will be given a question. Read it carefully, think about it, and then choose the one best answer."


def test_boilerplate_never_counts_by_itself() -> None:
    own = [f"{INSTRUCTION} {first} made the {second}?" for first, second in zip("abcdefgh", "stuvwxyz", strict=True)]
    plain = [f"plain item number {n} asks what {n * 7} and {n * 3} have in common" for n in range(30)]
    suite = items(*own, *plain)
    assert kinds(rows(f"{INSTRUCTION} Which of these is a mammal?"), suite) == []
    assert kinds(rows(f"{INSTRUCTION} a made the s?"), suite) == ["whole"]
    assert kinds(rows("so: a made the s"), suite) == ["whole"]
    few = items(*own[:5], *plain)  # five items may share a passage without it being boilerplate
    assert kinds(rows(f"{INSTRUCTION} Which of these is a mammal?"), few) == ["ngram"] * 5


def test_a_question_asked_about_several_passages_identifies_none() -> None:
    passages = [" ".join(f"word{number}of{passage}" for number in range(15)) for passage in (1, 2)]
    asked = [f"What does part {part} of it say?" for part in ("one", "two", "three", "four", "five", "six")]
    suite = items(
        *(f"{passage} {question}" for passage in passages for question in asked), f"{passages[0]} Who lied to whom?"
    )
    assert kinds(rows(asked[0]), suite) == []
    assert kinds(rows("Who lied to whom?", f"{passages[1]} {asked[1]}"), suite) == ["whole", "whole"]


# --------------------------------------------------------------------------------------------------------- edits

STORY = (
    "Maria walks to the market every Saturday and buys 4 bags of rice for her neighbours. Each bag weighs 12 pounds "
    "and costs her 9 dollars. How much does she spend on rice in a month with 5 Saturdays?"
)


def edited(text: str, change: str, step: int = 9) -> str:
    """Change one word in ``step``, numbers left alone."""
    said = text.split()
    for at in range(len(said) - step // 2, 0, -step):
        at -= any(c.isdigit() for c in said[at])
        said[at : at + 1] = {"replace": ["window"], "insert": [said[at], "window"], "delete": []}[change]
    return " ".join(said)


@pytest.mark.parametrize("change", ["replace", "insert", "delete"])
def test_an_edited_copy_is_found(change: str) -> None:
    text = edited(STORY, change)
    (hit,) = overlaps(rows(f"Hello. {text} Thanks!"), items(SHORT, STORY), RULE).to_dicts()
    assert (hit["item_id"], hit["kind"]) == ("t-1", "fuzzy")
    assert 0.6 <= hit["score"] < 1
    assert kinds(rows(text), items(STORY), Decontaminate(fuzzy=None)) == []


@pytest.mark.parametrize("place", range(9))
def test_one_edit_in_a_short_item(place: int) -> None:
    said = SHORT.split()
    for edited in ([*said[:place], "window", *said[place + 1 :]], [*said[:place], *said[place + 1 :]]):
        assert kinds(rows(f"So: {' '.join(edited)} Tell me."), items(SHORT)) == ["fuzzy"]
    assert kinds(rows("Which organ of the human body is the one you like?"), items(SHORT)) == []


def test_what_items_share_with_everything_is_no_edited_copy() -> None:
    suite = items("Reproduction is the process by which living things what?")
    assert kinds(rows("Growth is the process by which living things get larger."), suite) == []
    assert kinds(rows("What is the largest city of the whole country?"), items(SHORT)) == []


@pytest.mark.parametrize(
    ("item", "row"),
    [
        ("Why do brown bears sleep?", "why do bro-\nwn bears sleep"),
        ("When is my cat\u2019s breakfast, Mum?", "when is my cat s breakfast, Mum"),
        ("A ruler is used for measuring?", "aruler is used for measuring"),
    ],
)
def test_words_joined_or_split_are_the_same(item: str, row: str) -> None:
    (hit,) = overlaps(rows(f"Hey: {row}, ok"), items(item), RULE).to_dicts()
    assert hit["score"] == 1


def test_the_better_item_comes_first() -> None:
    near = STORY.replace("market", "station").replace("rice", "flour").replace("neighbours", "aunts")
    found = overlaps(rows(f"A. {near}"), items(SHORT, STORY, near), RULE)
    assert found["item_id"].to_list() == ["t-2", "t-1"]
    assert found["score"][0] == 1


# ----------------------------------------------------------------------------------------------------- templates


def test_other_numbers_make_a_template() -> None:
    other = STORY.replace("4", "7").replace("12", "30").replace("9", "two")
    found = overlaps(rows(other, STORY), items(STORY), RULE)
    assert found["kind"].to_list() == ["template", "ngram"]
    assert remove(rows(other, STORY), found, RULE).rows["prompt"].to_list() == [other]
    drop = Decontaminate(templates="drop")
    assert remove(rows(other, STORY), found, drop).rows.is_empty()
    assert removable(found, RULE)["kind"].to_list() == ["ngram"]


def test_the_same_numbers_in_other_words_are_no_template() -> None:
    assert kinds(rows(edited(STORY.replace("4", "four").replace("12", "twelve"), "replace")), items(STORY)) == ["fuzzy"]
    renamed = STORY.replace("Maria", "Sofia")
    assert kinds(rows(renamed), items(STORY)) == ["ngram"]


def test_other_names_in_an_item_without_numbers_make_a_template() -> None:
    item = "In the story we read, why did Martha leave the house before her sister Clara came home?"
    other = item.replace("Martha", "Ruth").replace("Clara", "Jane")
    assert kinds(rows(other), items(item)) == ["template"]
    assert kinds(rows(item.replace("Martha", "nobody")), items(item)) == ["fuzzy"]


def test_sums_have_no_template() -> None:
    suite = items("What is 12 + 5 - 3?", "What is 8 + 1 - 3?")
    assert kinds(rows("What is 13 + 5 - 3?", "What is 12 + 5 - 3 + 4?"), suite) == []


# ------------------------------------------------------------------------------------------ what many rows share

QUOTE = "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness"
ASKED = f'"{QUOTE}" Which novel opens this way?'
AROUND = ("mug", "poster", "tattoo", "speech", "sampler", "towel", "stamp", "bench", "banner", "cake", "quilt", "card")


def test_a_passage_that_many_rows_quote_is_no_evidence() -> None:
    quoting = [f"My aunt wants a {thing} that says: {QUOTE}. Is that too long for a {thing}?" for thing in AROUND]
    assert kinds(rows(*quoting), items(ASKED)) == []
    assert kinds(rows(*quoting[:5]), items(ASKED)) == ["ngram"] * 5
    # The item itself, as it is or edited, is found among them, however often it is there.
    copies = [f"{thing}: {text}" for thing in AROUND for text in (ASKED, edited(ASKED, "replace"))]
    found = overlaps(rows(*quoting, *copies), items(ASKED), RULE)
    assert found["row_id"].to_list() == rows(*copies)["row_id"].to_list()


def test_copies_of_a_row_are_one_row() -> None:
    part = " ".join(LONG.split()[:16])
    training = rows(*[part] * 10)
    assert remove(training, overlaps(training, items(LONG), RULE), RULE).rows.is_empty()


def test_an_item_that_is_a_quotation_is_found_wherever_it_is_quoted() -> None:
    quoting = rows(*(f"A {thing} with: {QUOTE}." for thing in AROUND))
    assert kinds(quoting, items("", answer=QUOTE)) == ["ngram"] * len(AROUND)


def test_a_wrapper_of_one_item_that_many_rows_share_is_no_evidence() -> None:
    suite = items(f"{INSTRUCTION} Which metal melts in a warm hand?", SHORT)
    training = rows(*(f"{INSTRUCTION} Do you own a {thing}?" for thing in AROUND))
    assert kinds(training, suite) == []
    assert kinds(rows(f"{INSTRUCTION} Which metal melts in a warm hand?"), suite) == ["ngram"]


# ---------------------------------------------------------------------------------- question, answer and choices


def test_answers_and_choices_alone_are_no_evidence() -> None:
    suite = items(LONG, SHORT, answer="the left kidney of a horse", choices=("the left kidney of a horse", "his skin"))
    assert kinds(rows("the left kidney of a horse", "Sort: the left kidney of a horse, his skin"), suite) == []


def test_a_question_that_many_items_ask_counts_with_its_choices_only() -> None:
    generic = "Which of these statements is true?"
    suite = pl.concat(
        [
            items(generic, task=f"t{n}", answer=f"claim number {n}", choices=(f"claim number {n}", f"rival {n}"))
            for n in range(8)
        ]
    )
    assert kinds(rows(f"{generic} A cow flies. A cow swims."), suite) == []
    found = overlaps(rows(f"{generic} Rival 3. Something else."), suite, RULE)
    assert found["item_id"].to_list() == ["t3-0"]
    assert kinds(rows(generic), suite[:2]) == ["whole"] * 2


def test_three_words_count_beside_an_answer() -> None:
    suite = items("What causes cancer?", answer="smoking", choices=("smoking", "wind"))
    assert kinds(rows("He asked what causes cancer. Smoking, they said."), suite) == ["whole"]
    assert kinds(rows("He asked what causes cancer and left."), suite) == []
    assert kinds(rows("Q: What causes cancer?\nA:"), suite) == ["exact"]


# ---------------------------------------------------------------------------------------------------- properties

PLAIN = st.lists(st.text(alphabet="bcd ef", min_size=1, max_size=30), max_size=5)


@settings(deadline=None, max_examples=60)
@given(PLAIN, st.lists(st.text(alphabet="bcd ef", min_size=1, max_size=30), min_size=1, max_size=5), st.integers(3, 6))
def test_against_a_plain_reading_of_the_rule(prompts: list[str], questions: list[str], ngram: int) -> None:
    def expected(prompt: str, question: str) -> bool:
        row, item = words(prompt), words(question) or ("yes",)
        size = ngram if len(item) >= max(ngram, 4) else len(item)
        runs = {row[start : start + size] for start in range(len(row) - size + 1)}
        return item == row if len(item) < 4 else any(item[i : i + size] in runs for i in range(len(item) - size + 1))

    training = rows(*dict.fromkeys(prompts))
    found = overlaps(training, items(*questions), Decontaminate(ngram=ngram, fuzzy=None))
    ids = dict(zip(training["row_id"], training["prompt"], strict=True))
    pairs = [(ids[line["row_id"]], int(line["item_id"][2:])) for line in found.iter_rows(named=True)]
    assert sorted(pairs) == sorted(
        (p, i) for p in dict.fromkeys(prompts) for i, q in enumerate(questions) if expected(p, q)
    )
    assert list(dict.fromkeys(p for p, _ in pairs)) == [p for p in dict.fromkeys(prompts) if p in dict(pairs)]
    assert found["score"].is_between(0, 1).all()


PIECES = st.lists(
    st.sampled_from([QUOTE, "Which novel opens this way?", LONG, SHORT, STORY, "say 4 + 1", "4 + 1", "why me"]),
    min_size=1, max_size=3,
).map(" ".join)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(PIECES, min_size=1, max_size=25), st.sampled_from(["keep", "drop"]))
def test_once_is_enough_and_nothing_is_lost(prompts: list[str], templates: str) -> None:
    rule = Decontaminate(templates=templates)  # type: ignore[arg-type]
    suite = items(ASKED, SHORT, STORY, "4 + 1", "Why me?", LONG)
    training = rows(*prompts)
    built = remove(training, overlaps(training, suite, rule), rule)
    assert built.rows.height + built.drops.height == training.height
    kept = set(built.rows["row_id"])
    assert built.rows.equals(training.filter(pl.col("row_id").is_in(kept)))
    assert sorted([*built.rows["row_id"], *built.drops["row_id"]]) == sorted(training["row_id"])
    assert removable(overlaps(built.rows, suite, rule), rule).is_empty()


def test_neither_hashes_nor_batches_nor_the_sample_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = (SHORT, QUOTE, edited(STORY, "replace"))
    training = rows(*(f"{a} {b} and {c}" for a in ("So", LONG) for b in texts for c in AROUND))
    suite = items(ASKED, SHORT, STORY, LONG, "4 + 1")
    expected = overlaps(training, suite, RULE)
    assert set(expected["kind"]) == {"whole", "ngram", "fuzzy"}
    search = Search(suite, RULE, training.clear())
    search.add(training)
    assert search.overlaps().equals(expected)
    monkeypatch.setattr(contamination, "BATCH", 7)
    assert overlaps(training, suite, RULE).equals(expected)
    monkeypatch.setattr(scan, "MIX", np.uint64(0))  # all runs that end alike now have one hash
    assert overlaps(training, suite, RULE).equals(expected)


def test_removal_keeps_the_ledger() -> None:
    training = rows("clean one", SHORT, "clean two", SHORT)
    found = overlaps(training, items(SHORT), RULE)
    built = remove(training, found, RULE)
    assert found.height == 1
    assert built.rows["prompt"].to_list() == ["clean one", "clean two"]
    assert built.drops["operation"].to_list() == ["decontaminate"] * 2
    assert built.drops["reason"][0] == f'whole overlap with t/t-0: "{" ".join(words(SHORT))}"'
    untouched = remove(training, overlaps(training, items("Something else entirely, is it?"), RULE), RULE)
    assert untouched.rows.equals(training)


def test_nothing_in_nothing_out() -> None:
    assert overlaps(rows(), items(SHORT), RULE).schema == OVERLAP_SCHEMA
    assert overlaps(rows("", " ", "?!"), items("", answer=""), RULE).is_empty()


# ------------------------------------------------------------------- framed, rearranged, mistyped, spelled out

FRAMES = (
    "Please answer the following question: {}", "Hey, quick one: {} Thanks!", "{} Think before you speak.",
    "User: {}\nAssistant:", "{} (in one word)", "Help me with this. {} Be brief, please.", "“{}” What do you say?",
)  # fmt: skip


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("item", ["Who painted Guernica?", "Why us?", "Name two rivers", "Translate: good evening"])
def test_items_of_a_few_words_are_found_in_a_frame(frame: str, item: str) -> None:
    for wrapper in ("{}", "Question: {}\nAnswer:"):
        assert kinds(rows(frame.format(item)), items(item, SHORT, wrapper=wrapper)) == ["exact"]


def test_items_of_a_few_words_are_not_found_inside_sentences() -> None:
    suite = items("Who painted Guernica?", "Why us?")
    assert kinds(rows("He knew who painted Guernica and why us two did not.", "Ask why us and them."), suite) == []
    assert kinds(rows(f"{' '.join(['A long story.'] * 15)} Why us? {' '.join(['It went on.'] * 9)}"), suite) == []


def test_sentences_in_another_order() -> None:
    parts = STORY.split(". ")
    turned = f"{parts[-1]} {parts[0]}. {parts[1]}."
    (hit,) = overlaps(rows(f"Well. {turned} Thanks"), items(SHORT, STORY), RULE).to_dicts()
    assert (hit["item_id"], hit["kind"]) in (("t-1", "fuzzy"), ("t-1", "ngram"))
    brief = "Anna baked 14 loaves. Her brother ate 3 of them. How many are there still?"
    assert kinds(rows("How many are there still? Her brother ate 3 of them. Anna baked 14 loaves."), items(brief)) == [
        "fuzzy"
    ]
    assert kinds(rows("How many are there still? Her brother ate 5 of them. Anna baked 14 loaves."), items(brief)) == []
    assert kinds(rows("How many are there still? Her brother ate 3 of them."), items(brief)) == []


@pytest.mark.parametrize("said", ["What do musels filter?", "What do mussles filter?", "What do mussels filtre?"])
def test_mistyped_words_are_the_same(said: str) -> None:
    assert kinds(rows(f"So: {said} Tell me"), items("What do mussels filter?", SHORT)) == ["fuzzy"]


def test_other_words_are_not_mistyped_ones() -> None:
    suite = items("What do goats eat?", SHORT)
    assert kinds(rows("What do boats eat?", "What do goatherds eat?", "What do hens eat?"), suite) == []


def test_numbers_spelled_out_are_the_same() -> None:
    suite = items("Tom has 25 marbles and 1,200 beads. How many is that?")
    assert kinds(rows("Tom has twenty-five marbles and one thousand two hundred beads. How many is that?"), suite) == [
        "whole"
    ]
    assert kinds(rows("Tom has twenty-six marbles and one thousand two hundred beads. How many is that?"), suite) != [
        "whole"
    ]
