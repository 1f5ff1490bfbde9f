import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import generators
from harness.data.generators import generate, number, score
from harness.data.sources import load
from harness.errors import RequestError
from harness.spec import Source

SUMS: dict[str, Any] = {"max_terms": 2, "max_digits": 2}


def sums(rows: int = 40, seed: int = 1, corrupt: float = 0.0) -> list[dict[str, Any]]:
    return generate("sources.s", "chain_sum", SUMS, rows, seed, corrupt)


def test_rows_carry_what_templates_need_and_true_answers() -> None:
    for row in sums():
        left, sign, right = row["expression"].split()
        assert int(row["answer"]) == int(left) + int(right) * (1 if sign == "+" else -1)
        assert row["entry"]["answer"] == row["answer"]
        assert row["num_terms"] == 2


def test_the_seed_decides_and_neighbouring_seeds_share_next_to_nothing() -> None:
    assert sums() == sums()
    assert sums(20) == sums()[:20]
    long = {"min_digits": 6, "max_digits": 6}
    questions = [{row["question"] for row in generate("s", "chain_sum", long, 50, seed, 0)} for seed in (1, 2)]
    assert not questions[0] & questions[1]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_corrupt_plants_exactly_that_many_small_errors(share: float) -> None:
    clean, rows = sums(), sums(corrupt=share)
    off = [int(row["answer"]) - int(row["entry"]["answer"]) for row in rows]
    assert sum(difference != 0 for difference in off) == round(share * 40)
    assert {abs(difference) for difference in off} <= {0, 1, 2, 10}
    assert [row["question"] for row in rows] == [row["question"] for row in clean]
    assert [row["entry"] for row in rows] == [row["entry"] for row in clean]


def test_a_generated_source_has_prompts_completions_and_working_verifiers() -> None:
    source = Source(generator="reasoning-gym", task="chain_sum", config=SUMS, rows=30, corrupt=0.5)
    rows = load("s", source, Path()).rows
    assert all(re.fullmatch(r"Q: .* =\nA:", prompt, re.DOTALL) for prompt in rows["prompt"])
    scores = [score(row["verifier"], row["completion"]) for row in rows.iter_rows(named=True)]
    assert sum(value == 1.0 for value in scores) == 15
    assert json.loads(rows["meta"][3])["place"] == "reasoning-gym/chain_sum#3"


def test_templates_may_use_the_metadata() -> None:
    fields = {"prompt": "Q: {expression} =\nA:", "completion": " {answer}", "slice": "num_digits"}
    source = Source(generator="reasoning-gym", task="chain_sum", config=SUMS, rows=5, fields=fields)
    rows = load("s", source, Path()).rows
    assert re.fullmatch(r"Q: \d+ [+-] \d+ =\nA:", rows["prompt"][0])
    assert set(rows["slice"]) <= {"1", "2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "chain_sums"}, 'sources.s.task: reasoning-gym has no task "chain_sums". Did you mean "chain_sum"'),
        ({"config": {"max_term": 2}}, 's.config: chain_sum has no setting "max_term". Did you mean "max_terms"'),
        ({"config": {"max_terms": 1}}, r"sources.s.config: chain_sum refuses these settings \(max_terms must be"),
        ({"config": {"max_terms": "many"}}, "refuses these settings"),
        ({"config": {"size": 3}}, "write sources.s.rows instead"),
        ({"config": {"seed": 3}}, "write sources.s.seed instead"),
        ({"task": "graph_color", "config": {}}, "sources.s.task: graph_color asks without giving an answer"),
        ({"config": "easy"}, "sources.s.config: expected the task's settings"),
        ({"task": "syllogism", "config": {}, "corrupt": 0.5}, "sources.s.corrupt: answer .* is not a whole number"),
        ({"fields": {"prompt": "{expresion}", "completion": "answer"}}, 'chain_sum#0: .*Did you mean "expression"'),
        ({"fields": {"prompt": "entry", "completion": "answer"}}, '"entry" is an object'),
    ],
)  # fmt: skip
def test_wrong_generators(changes: dict[str, Any], message: str) -> None:
    source = {"generator": "reasoning-gym", "task": "chain_sum", "config": SUMS, "rows": 5, **changes}
    with pytest.raises(RequestError, match=message):
        load("s", Source.model_validate(source), Path())


def test_rows_whose_verifier_would_not_work_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"sources.s.task: entries of t cannot be stored as JSON \(.*key 0"):
        generators.verifier("sources.s", "t", {"metadata": {0: "a"}})
    monkeypatch.setattr(generators, "score", lambda verifier, completion: 0.05)
    with pytest.raises(RequestError, match=r"sources.s.task: chain_sum refuses its own answer once it is stored"):
        sums()


# ------------------------------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        ("He pays 5 + 13 = $18.", "18", True),
        ("so\n#### 1,234", "1234", True),
        ("#### 7 and then 8 more #### 9", "9", True),
        ("#### 7\nIs that right?", "7", True),
        ("It is 7. ####", "7", False),
        ("about 50%", "50.0", True),
        ("-$1,000.50", "-1000.5", True),
        ("10-3", "3", True),
        ("10 \u2212 13 = \u22123", "-3", True),
        ("1, 2, 3", "3", True),
        ("0.1", ".10", True),
        ("eighteen", "18", False),
        ("", "18", False),
        ("180", "18", False),
    ],
)
def test_numeric_scoring(completion: str, answer: str, right: bool) -> None:
    assert score(json.dumps({"scorer": "numeric", "answer": answer}), completion) == float(right)


@settings(deadline=None, max_examples=40)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9))
def test_any_number_is_found_at_the_end_of_a_sentence(value: Any) -> None:
    verifier = json.dumps({"scorer": "numeric", "answer": str(value)})
    assert score(verifier, f"First 3 of 7, then it is {value:,}.") == 1.0
    assert score(verifier, f"it is {value + 1}") == 0.0


def test_reasoning_gym_gives_partial_credit() -> None:
    entry = sums(1)[0]["entry"]
    verifier = json.dumps({"scorer": "reasoning-gym", "task": "chain_sum", "entry": entry})
    assert score(verifier, f" {entry['answer']}\n") == 1.0
    assert 0 < score(verifier, f"it is {entry['answer']}") < 1


def test_what_is_a_number() -> None:
    assert number("$1,000") == 1000
    assert number("nan") is None
    assert number("Yes") is None
    with pytest.raises(ValueError, match="no scorer"):
        score('{"scorer": "taste"}', "x")
