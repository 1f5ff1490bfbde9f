from collections import Counter
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import polars as pl
import pytest
from lm_eval.models.huggingface import HFLM

from harness.errors import RequestError, StepError
from harness.evaluation import tasks
from harness.evaluation.run import Outcome, evaluate
from harness.evaluation.scorer import Scorer
from harness.spec import Suite
from tests.evaluation import local_suite

ALL = {
    "quiz": {"task": "local_choose", "limit": 9},
    "gaps": {"task": "local_complete"},
    "essay": {"task": "local_write"},
    "sums": {
        "task": "chain_sum", "generator": "reasoning-gym", "config": {"max_terms": 2, "max_digits": 2},
        "items": 15, "question": "Q: {expression} =\nA:", "slice": "carries",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tiny: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Path]:
    folder = tmp_path_factory.mktemp("stored")
    return local_suite.make(folder / "base", folder / "suite", **ALL), folder / "suite"


@pytest.fixture(scope="module")
def outcome(model: tuple[Any, Any], stored: tuple[Suite, Path]) -> Outcome:
    return evaluate(*model, *stored)


def stock(model: tuple[Any, Any], suite: Suite, folder: Path, **options: Any) -> dict[str, list[dict]]:
    """Return what lm-eval's own model class and settings give, per lm-eval task."""
    loaded = tasks.load(suite, folder, model[1].eos_token)
    with tasks.quiet():
        return lm_eval.simple_evaluate(
            HFLM(pretrained=model[0], tokenizer=model[1], batch_size=4),
            tasks=[task for _, task in loaded.values()],
            task_manager=lm_eval.tasks.TaskManager(include_defaults=False),
            bootstrap_iters=0,
            **options,
        )["samples"]


def column(outcome: Outcome, task: str, name: str) -> np.ndarray:
    return outcome.items.filter(pl.col("task") == task)[name].to_numpy()


def test_equals_stock_lm_eval(model: Any, stored: Any, outcome: Outcome) -> None:
    samples = stock(model, *stored)
    quiz = samples["local_choose"][:9]
    options = np.array([[r[0][0] for r in sample["resps"]] for sample in quiz])
    labels = [row["label"] for row in local_suite.rows(9)]
    gold = options[range(9), labels]
    best_other = np.where(np.eye(4, dtype=bool)[labels], -np.inf, options).max(1)
    softmax = np.exp(options) / np.exp(options).sum(1, keepdims=True)
    assert column(outcome, "quiz", "gold_logprob") == pytest.approx(gold, abs=1e-3)
    assert column(outcome, "quiz", "margin") == pytest.approx(gold - best_other, abs=1e-3)
    assert column(outcome, "quiz", "choice_prob") == pytest.approx(softmax[range(9), labels], abs=1e-4)
    for name in ("acc", "acc_norm"):
        assert column(outcome, "quiz", name).tolist() == [sample[name] for sample in quiz]
    for task, subtask in (("gaps", "local_complete"), ("sums", "harness_sums")):
        answers = [sample["resps"][0][0] for sample in samples[subtask]]
        assert column(outcome, task, "gold_logprob") == pytest.approx([a[0] for a in answers], abs=1e-3)
        assert column(outcome, task, "exact_match").tolist() == [float(a[1]) for a in answers]
    plain = [sample for sample in samples["local_write"] if sample["filter"] == "plain"]
    assert column(outcome, "essay", "exact_match").tolist() == [sample["exact_match"] for sample in plain]


def test_log_likelihoods_are_shared_over_tokens_and_bytes(model: Any, stored: Any, outcome: Outcome) -> None:
    items = pl.read_parquet(stored[1] / "items.parquet").filter(pl.col("task") == "sums")
    gold = column(outcome, "sums", "gold_logprob")
    tokens = [len(model[1](answer + model[1].eos_token).input_ids) for answer in items["answer"]]
    assert column(outcome, "sums", "gold_logprob_per_token") == pytest.approx(gold / tokens)
    assert column(outcome, "sums", "gold_logprob_per_byte") == pytest.approx(
        gold / items["answer"].str.len_bytes().to_numpy()
    )


def test_a_row_per_pinned_item_in_order_with_nulls_where_a_task_lacks_a_metric(stored: Any, outcome: Outcome) -> None:
    pinned = pl.read_parquet(stored[1] / "items.parquet")
    kept = ["item_id", "task", "subtask", "slice", "group", "half"]
    assert outcome.items.select(kept).equals(pinned.select(kept))
    assert outcome.items.columns[:6] == kept
    assert set(outcome.items.dtypes[6:]) == {pl.Float64}
    for task, name in (("essay", "gold_logprob"), ("gaps", "margin"), ("quiz", "exact_match")):
        own = outcome.items.filter(pl.col("task") == task)
        assert own[name].null_count() == len(own)
    assert "perplexity" not in outcome.items.columns


def test_scores_are_means_with_standard_errors_and_a_majority_baseline(stored: Any, outcome: Outcome) -> None:
    scores = {score.task: score for score in outcome.scores}
    assert list(scores) == list(stored[0].tasks)
    assert {name: score.primary for name, score in scores.items()} == {
        "quiz": "acc", "gaps": "exact_match", "essay": "exact_match", "sums": "exact_match",
    }  # fmt: skip
    for name, score in scores.items():
        own = outcome.items.filter(pl.col("task") == name)
        assert score.items == len(own)
        for metric, mean in score.metrics.items():
            assert mean == pytest.approx(own[metric].mean())
            assert score.stderr[metric] == pytest.approx(own[metric].std() / len(own) ** 0.5)
    labels = Counter(row["label"] for row in local_suite.rows(9))
    assert scores["quiz"].majority == max(labels.values()) / 9
    answers = pl.read_parquet(stored[1] / "items.parquet").filter(pl.col("task") == "sums")["answer"]
    assert scores["sums"].majority == max(Counter(answers).values()) / 15


def test_batches_change_nothing_and_progress_reaches_the_end(model: Any, stored: Any, outcome: Outcome) -> None:
    seen: list[tuple[int, int]] = []
    again = evaluate(*model, *stored, batch_tokens=64, on_progress=lambda *state: seen.append(state))
    for name in outcome.items.columns[6:]:
        ours, theirs = again.items[name], outcome.items[name]
        assert ours.drop_nulls().to_numpy() == pytest.approx(theirs.drop_nulls().to_numpy(), abs=1e-4)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(outcome.items), len(outcome.items))
    assert again.tokens > 0
    assert again.seconds > 0


def test_the_same_model_gives_identical_items(model: Any, stored: Any, outcome: Outcome) -> None:
    assert evaluate(*model, *stored).items.equals(outcome.items)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks
def test_adapters_are_evaluated_and_the_model_is_left_as_it_was(model: Any, stored: Any, tmp_path: Path) -> None:
    import copy

    import torch
    from peft import LoraConfig, get_peft_model

    suite = local_suite.make(tmp_path / "base", tmp_path / "suite", gaps={"task": "local_complete"})
    adapted = get_peft_model(copy.deepcopy(model[0]), LoraConfig(r=4, target_modules="all-linear"))
    plain = evaluate(*model, suite, tmp_path / "suite")
    same = evaluate(adapted, model[1], suite, tmp_path / "suite")  # LoRA starts as the identity
    assert same.items["gold_logprob"].to_numpy() == pytest.approx(plain.items["gold_logprob"].to_numpy(), abs=1e-4)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.train()
    merged = copy.deepcopy(adapted).merge_and_unload()
    changed = evaluate(adapted, model[1], suite, tmp_path / "suite").items["gold_logprob"].to_numpy()
    expected = evaluate(merged, model[1], suite, tmp_path / "suite").items["gold_logprob"].to_numpy()
    assert changed == pytest.approx(expected, abs=1e-3)
    assert abs(changed - plain.items["gold_logprob"].to_numpy()).max() > 0.1
    assert adapted.training
    assert not adapted.get_output_embeddings()._forward_pre_hooks


def test_chat_templates_are_applied(model: Any, tmp_path: Path) -> None:
    chosen = {"quiz": {"task": "local_choose"}, "gaps": {"task": "local_complete"}}
    suite = local_suite.make(tmp_path / "base", tmp_path / "suite", chat_template=True, **chosen)
    found = evaluate(*model, suite, tmp_path / "suite")
    samples = stock(model, suite, tmp_path / "suite", apply_chat_template=True)
    expected = [sample["resps"][0][0][0] for sample in samples["local_complete"]]
    assert samples["local_complete"][0]["arguments"][0][0].startswith("<|im_start|>user\n")
    assert column(found, "gaps", "gold_logprob") == pytest.approx(expected, abs=1e-3)


def test_a_suite_that_changed_is_refused(model: Any, tmp_path: Path) -> None:
    suite = local_suite.make(tmp_path / "base", tmp_path / "suite", gaps={"task": "local_complete"})
    data = tmp_path / "suite/tasks/gaps/complete.jsonl"
    data.write_text(data.read_text().replace("mat", "rug"))
    with pytest.raises(StepError, match="is no longer the pinned one"):
        evaluate(*model, suite, tmp_path / "suite")


def test_an_overflown_model_is_refused(model: Any, tmp_path: Path) -> None:
    import copy

    suite = local_suite.make(tmp_path / "base", tmp_path / "suite", gaps={"task": "local_complete"})
    broken = copy.deepcopy(model[0])
    broken.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(StepError, match="NaN"):
        evaluate(broken, model[1], suite, tmp_path / "suite")


def test_a_missing_chat_template_is_named(model: Any, stored: Any) -> None:
    import copy

    tokenizer = copy.deepcopy(model[1])
    tokenizer.chat_template = None
    suite = stored[0].model_copy(update={"chat_template": True})
    with pytest.raises(RequestError, match="suite mine: chat_template"):
        evaluate(model[0], tokenizer, suite, stored[1])


def test_contexts_as_options_and_whole_texts_equal_stock_lm_eval(model: Any, tmp_path: Path) -> None:
    chosen = {"fill": {"task": "local_fill"}, "roll": {"task": "local_roll", "metric": "gold_logprob_per_byte"}}
    suite = local_suite.make(tmp_path / "base", tmp_path / "suite", **chosen)
    found = evaluate(*model, suite, tmp_path / "suite")
    samples = stock(model, suite, tmp_path / "suite")
    right = [row["right"] for row in local_suite.rows(12)]
    gold = [s["resps"][i][0][0] for s, i in zip(samples["local_fill"], right, strict=True)]
    assert column(found, "fill", "gold_logprob") == pytest.approx(gold, abs=1e-3)
    assert column(found, "fill", "acc").tolist() == [sample["acc"] for sample in samples["local_fill"]]
    whole = [sample["resps"][0][0] for sample in samples["local_roll"]]
    assert column(found, "roll", "gold_logprob") == pytest.approx(whole, abs=1e-3)
    assert [score.primary for score in found.scores] == ["acc", "gold_logprob_per_byte"]


def test_options_of_one_token_share_a_forward_pass(model: Any) -> None:
    scorer = Scorer(*model, 4096, None, 1)
    context = model[1]("Q: 1 + 2 =\nA:").input_ids
    requests = [(("Q", str(token)), context, [token]) for token in range(20, 40)]
    answers = scorer._loglikelihood_tokens(requests)
    assert scorer.tokens == len(context)
    expected = [scorer._loglikelihood_tokens([request])[0][0] for request in requests]
    assert [answer[0] for answer in answers] == pytest.approx(expected, abs=1e-5)
