"""What users may write: every spec refuses what it does not know, and a mix is counted exactly."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness import spec
from harness.identity import canonical_json
from harness.spec import (
    DESIGNS,
    OPERATIONS,
    AddOneIn,
    Clean,
    Dedupe,
    Design,
    Filter,
    FilterFactorial,
    LeaveOneOut,
    MixtureDirichlet,
    Operation,
    Pii,
    Recipe,
    Sample,
    SizeLadder,
    Source,
    Spec,
    Study,
    Suite,
    Task,
    Variant,
    Verify,
)

NAMES = st.text("abcdefgh", min_size=1, max_size=4)
WEIGHTS = st.dictionaries(NAMES, st.floats(1e-9, 1, exclude_min=True), min_size=1, max_size=8)
SPECS = [value for value in vars(spec).values() if isinstance(value, type) and issubclass(value, Spec)]


# -------------------------------------------------------------------------------------------------------- counts


@given(weights=WEIGHTS, rows=st.integers(1, 10**6))
def test_weights_are_rounded_to_the_total_exactly(weights: dict[str, float], rows: int) -> None:
    counts = Variant(mix=weights, rows=rows).counts()
    assert sum(count or 0 for count in counts.values()) == rows
    total = sum(weights.values())
    for name, weight in weights.items():
        share = rows * weight / total
        assert abs((counts[name] or 0) - share) < 1 + 1e-6
        assert (counts[name] or 0) >= 0


@given(weights=WEIGHTS, rows=st.integers(1, 10**4), order=st.randoms(use_true_random=False))
def test_the_order_sources_are_written_in_does_not_matter(weights: dict[str, float], rows: int, order) -> None:  # type: ignore[no-untyped-def]
    names = list(weights)
    order.shuffle(names)
    other = {name: weights[name] for name in names}
    assert Variant(mix=weights, rows=rows).counts() == Variant(mix=other, rows=rows).counts()


@given(counts=st.dictionaries(NAMES, st.integers(1, 10**6) | st.just("all"), min_size=1))
def test_row_counts_are_taken_as_they_are(counts: dict[str, int | str]) -> None:
    mix = Variant.model_validate({"mix": counts})
    assert mix.counts() == {name: None if count == "all" else count for name, count in counts.items()}


def test_one_of_several_equal_remainders_is_chosen_by_name() -> None:
    assert Variant(mix={"b": 0.5, "a": 0.5}, rows=3).counts() == {"b": 1, "a": 2}


# ---------------------------------------------------------------------------------------------------- operations


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("dedupe", Dedupe()),
        ({"dedupe": {"method": "near"}}, Dedupe(method="near")),
        ({"verify": None}, Verify()),
        ({"verify": {"min_score": 0.5}}, Verify(min_score=0.5)),
        ({"op": "sample", "rows": 3}, Sample(rows=3)),
        ("pii", Pii()),
        ({"clean": {"repair": False}}, Clean(repair=False)),
        ({"filter": {"score": "quality", "min_score": 3}}, Filter(score="quality", min_score=3)),
    ],
)
def test_operations_have_a_short_form(written: object, read: Spec) -> None:
    variant = Variant.model_validate({"operations": [written]})
    assert variant.operations == (read,)
    assert variant.identity()["operations"] == [read.identity()]
    source = Source.model_validate({"path": "a.jsonl", "operations": [written]})
    assert source.operations == variant.operations


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("leave_one_out", LeaveOneOut()),
        ({"leave_one_out": None}, LeaveOneOut()),
        ({"add_one_in": {"rows": 3}}, AddOneIn(rows=3)),
        ({"design": "size_ladder", "fractions": [0.5]}, SizeLadder(fractions=(0.5,))),
        ({"filter_factorial": {"factors": {"right": "verify", "once": [{"dedupe": None}]}}},
         FilterFactorial(factors={"right": (Verify(),), "once": (Dedupe(),)})),
        ({"mixture_dirichlet": {"draws": 2, "rows": 9}}, MixtureDirichlet(draws=2, rows=9)),
    ],
)  # fmt: skip
def test_designs_have_a_short_form(written: object, read: Spec) -> None:
    made = study(designs=[written])
    assert made.designs == (read,)
    assert Study.model_validate(made.identity()) == made


def test_every_operation_and_design_is_listed_under_its_name() -> None:
    for kinds, tag in ((OPERATIONS, "op"), (DESIGNS, "design")):
        assert {name: kind.model_fields[tag].default for name, kind in kinds.items()} == {name: name for name in kinds}
    assert set(get_args(get_args(Operation)[0])) == set(OPERATIONS.values())
    assert set(get_args(get_args(Design)[0])) == set(DESIGNS.values())


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("model", SPECS)
def test_unknown_fields_are_refused_and_specs_do_not_change(model: type[Spec]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"colour": "red"})
    assert ("colour",) in {problem["loc"] for problem in caught.value.errors() if problem["type"] == "extra_forbidden"}
    assert model.model_config["frozen"]


@pytest.mark.parametrize(
    ("model", "fields", "said"),
    [
        (Filter, {}, "at least one bound"),
        (Filter, {"score": "quality", "max_words": 3}, "goes with min_score or max_score"),
        (Filter, {"max_score": 3}, "goes with min_score or max_score"),
        (Filter, {"max_words": 3, "settings": {"a": 1}}, "none is named"),
        (Filter, {"function": "os.system"}, "is not module:function"),
        (Verify, {"function": "a:b:c"}, "is not module:function"),
        (Verify, {"keep": "all"}, "needs a label"),
        (Dedupe, {"threshold": 0.5}, "goes with method: near or semantic"),
        (Pii, {"kinds": []}, "at least 1"),
        (SizeLadder, {}, "either rows or fractions"),
        (SizeLadder, {"rows": [1], "fractions": [0.5]}, "either rows or fractions"),
        (SizeLadder, {"rows": [1, 1]}, "different numbers above 0"),
        (SizeLadder, {"fractions": [-0.5]}, "different numbers above 0"),
        (SizeLadder, {"rows": [1], "alone": True}, "alone needs a source"),
        (AddOneIn, {"rows": 0}, "greater than or equal to 1"),
        (LeaveOneOut, {"sources": []}, "at least 1"),
        (FilterFactorial, {"factors": {"a": "verify"}}, "at least 2"),
        (FilterFactorial, {"factors": {"a": "verify", "b": "vrfy"}}, "vrfy"),
        (MixtureDirichlet, {"draws": 0, "rows": 3}, "greater than or equal to 1"),
        (MixtureDirichlet, {"draws": 1, "rows": 3, "concentration": 0}, "greater than 0"),
        (MixtureDirichlet, {"draws": 1, "rows": 3, "prior": {"a": float("nan")}}, "finite number"),
        (Filter, {"pattern": "("}, "not a regular expression"),
        (Filter, {"pattern": "a{99999999999999999999}"}, "not a regular expression"),
        (Sample, {}, "either rows or fraction"),
        (Sample, {"rows": 2, "fraction": 0.5}, "either rows or fraction"),
        (Source, {"path": "a", "generator": "reasoning-gym", "task": "a", "rows": 1}, "it has path and generator"),
        (Source, {"generator": "reasoning-gym", "task": "chain_sum"}, "a task and the number of rows"),
        (Source, {"hub": "a/b"}, "needs a revision"),
        (Source, {"path": "a", "corrupt": 0.5}, "generated rows only"),
        (Source, {"path": "a", "fields": {"promt": "x"}}, 'Did you mean "prompt"'),
        (Variant, {"mix": {}}, "names no source"),
        (Variant, {"mix": {"a": 0}}, "more than 0"),
        (Variant, {"mix": {"a": 2.0}, "rows": 3}, "at most 1"),
        (Variant, {"mix": {"a": 0.5}}, "go together"),
        (Variant, {"mix": {"a": 5}, "rows": 3}, "go together"),
        (Variant, {"mix": {"a": 5, "b": 0.5}, "rows": 3}, "not both"),
        (Variant, {"rows": 3}, "need a mix"),
        (Variant, {"mix": {"a": 0.5}, "rows": 3, "tokens": 3}, "not both"),
        (Variant, {"mix": {"a": 0.5}, "tokens": 3, "unit": "tokens"}, "is for whole numbers"),
        (Recipe, {}, "either steps or epochs"),
        (Recipe, {"steps": 3, "epochs": 1}, "either steps or epochs"),
        (Task, {"task": "a", "path": "b", "generator": "reasoning-gym", "items": 3}, "not both"),
        (Task, {"task": "a", "items": 3}, "goes with generator"),
        (Task, {"task": "a", "generator": "reasoning-gym"}, "goes with generator"),
        (Suite, {"suite": "a", "tasks": {}}, "at least 1"),
        (Suite, {"suite": "../a", "tasks": {"a": {"task": "a"}}}, "is not a name"),
    ],
)
def test_contradictions_are_refused(model: type[Spec], fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        model.model_validate(fields)


def study(**changes: object) -> Study:
    fields: dict[str, object] = {
        "study": "s",
        "question": "?",
        "model": "m",
        "recipe": {"steps": 3},
        "suite": {"suite": "t", "tasks": {"a": {"task": "a"}}},
        "sources": {"x": {"path": "x.jsonl"}, "y": {"path": "y.jsonl"}},
        "baseline": {"mix": {"x": 8}},
        "arms": {"other": {"mix": {"y": 8}}},
        "decide": {"metric": "a/acc", "smallest_effect": 0.1},
    }
    return Study.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"baseline": {}}, "baseline.mix: the baseline needs a mix"),
        ({"baseline": {"mix": {"z": 8}}}, r"^1.*\n  Value error, baseline\.mix: no source is named \"z\""),
        ({"arms": {"other": {}}}, r"arms\.other: the arm is the baseline"),
        ({"arms": {"aa": {"mix": {"y": 8}}}}, r"arms\.aa: .* is taken"),
        ({"arms": {"random-subset-1": {"mix": {"y": 8}}}}, "is taken"),
        ({"arms": {"a/b": {"mix": {"y": 8}}}}, r"arms\.a/b: 'a/b' is not a name"),
        ({"sources": {"x": {"path": "x"}, "y": {"path": "y"}, "..": {"path": "z"}}}, r"sources\.\.\.: '\.\.' is not"),
        ({"suite": {"suite": "t", "tasks": {"a/b": {"task": "a"}}}}, r"suite\.tasks\.a/b: 'a/b' is not a name"),
        ({"recipe": {"epochs": 1}}, "match: steps needs recipe.steps"),
        ({"match": "additive"}, "match: additive needs recipe.epochs"),
        ({"match": "tokens", "recipe": {"epochs": 1}}, "baseline: match: tokens needs mixes in tokens"),
        ({"arms": {}}, "a study needs arms or designs"),
        ({"designs": [{"size_ladder": {"rows": [0]}}]}, "different numbers above 0"),
        ({"designs": ["leave_one_in"]}, "leave_one_in"),
        ({"seeds": []}, "list of different seeds"),
        ({"decide": {"metric": "acc", "smallest_effect": 0.1}}, "task/metric"),
    ],
)
def test_a_study_must_agree_with_itself(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        study(**changes)


def test_a_study_may_have_designs_only() -> None:
    assert study(arms={}, designs=["leave_one_out"]).arms == {}


@given(tokens=st.integers(1, 10**6), weights=WEIGHTS)
def test_weights_of_tokens_are_met_exactly_too(tokens: int, weights: dict[str, float]) -> None:
    variant = Variant(mix=weights, tokens=tokens)
    assert variant.in_tokens
    assert sum(count or 0 for count in variant.counts().values()) == tokens
    assert Variant(mix={"a": tokens}, unit="tokens").in_tokens
    assert not Variant(mix=weights, rows=tokens).in_tokens


def test_seeds_are_a_number_or_a_list() -> None:
    assert study(seeds=3).seed_list() == (1, 2, 3)
    assert study(seeds=[5, 2]).seed_list() == (5, 2)


def test_a_study_reads_back_from_its_identity() -> None:
    made = study(arms={"other": {"mix": {"y": "all"}, "operations": ["dedupe", {"filter": {"max_words": 9}}]}})
    assert Study.model_validate(made.identity()) == made
    assert canonical_json(made.identity()) == canonical_json(Study.model_validate(made.identity()).identity())


def test_defaults_are_spelled_out_in_the_identity() -> None:
    assert Recipe(steps=3).identity() == Recipe(steps=3, learning_rate=2e-4, lora=spec.Lora()).identity()
    assert set(Recipe(steps=3).identity()) == set(Recipe.model_fields)
