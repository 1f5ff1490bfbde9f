import json
import random
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import suites
from harness.errors import RequestError
from harness.identity import digest
from harness.records import ITEM_COLUMNS
from harness.spec import Suite

SUMS = {
    "task": "chain_sum",
    "generator": "reasoning-gym",
    "config": {"max_terms": 2, "max_digits": 2},
    "items": 60,
    "question": "Q: {expression} =\nA:",
}


def suite(confirmation: float = 0.5, **tasks: dict) -> Suite:
    return Suite.model_validate({"suite": "mine", "tasks": tasks, "confirmation": confirmation})


def items(count: int, task: str = "a") -> list[dict]:
    return [
        {
            "task": task, "subtask": task, "index": i, "doc_digest": digest({"doc": i}), "question": f"q{i}",
            "answer": "x", "choices": ["x", "y"], "slice": None, "group": None,
        }
        for i in range(count)
    ]  # fmt: skip


class TestGenerate:
    def test_sums_are_right_distinct_and_worded_by_the_templates(self, tmp_path: Path) -> None:
        found = suites.generate(suite(sums=SUMS), tmp_path)
        assert len(found) == len({item["question"] for item in found}) == 60
        for item in found:
            expression = item["question"].removeprefix("Q: ").removesuffix(" =\nA:")
            assert item["answer"] == f" {eval(expression)}"

    def test_a_seed_gives_the_same_items_again_and_its_neighbour_others(self, tmp_path: Path) -> None:
        config = {"max_terms": 4, "max_digits": 4}
        drawn = [
            {
                i["question"]
                for i in suites.generate(suite(sums={**SUMS, "config": config, "seed": seed}), tmp_path / f"{number}")
            }
            for number, seed in enumerate((3, 3, 4))
        ]
        assert drawn[0] == drawn[1]
        assert not drawn[0] & drawn[2]

    def test_the_written_task_holds_the_items_docs(self, tmp_path: Path) -> None:
        found = suites.generate(suite(sums=SUMS), tmp_path)
        lines = (tmp_path / "tasks/sums/sums.jsonl").read_text(encoding="utf-8").splitlines()
        assert [digest(json.loads(line)) for line in lines] == [item["doc_digest"] for item in found]
        config = yaml.safe_load((tmp_path / "tasks/sums/sums.yaml").read_text(encoding="utf-8"))
        assert config["task"] == found[0]["subtask"] == suites.subtask_name("sums")

    @given(a=st.integers(0, 9999), b=st.integers(0, 9999))
    def test_carries_are_those_of_written_arithmetic(self, a: int, b: int) -> None:
        digit_sum = lambda n: sum(map(int, str(n)))  # noqa: E731
        # Kummer: every carry takes 9 off the digit sum.
        assert suites._carries(str(a), "+", str(b)) == (digit_sum(a) + digit_sum(b) != digit_sum(a + b))
        low, high = sorted((a, b))
        borrows = digit_sum(high) - digit_sum(low) != digit_sum(high - low)
        assert suites._carries(str(a), "-", str(b)) == borrows

    def test_slices_and_groups_are_fields_of_the_entry(self, tmp_path: Path) -> None:
        found = suites.generate(suite(sums={**SUMS, "slice": "carries", "group": "num_digits"}), tmp_path)
        assert {item["slice"] for item in found} == {"carry", "no carry"}
        assert {item["group"] for item in found} == {"1", "2"}

    def test_independent_items_are_said_to_be(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = suites.generate(suite(sums={**SUMS, "group": "none"}), tmp_path)
        assert {item["group"] for item in found} == {None}
        names = suites._names
        monkeypatch.setattr(suites, "_names", lambda entry: {**names(entry), "none": "1"})
        with pytest.raises(RequestError, match=r'tasks\.sums\.group: "none" says .* have a field of that name'):
            suites.generate(suite(sums={**SUMS, "group": "none"}), tmp_path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"group": "None"}, r'tasks\.sums\.group: .*no field "None"'),
            ({"task": "chain_summ"}, r'tasks\.sums\.task: .*Did you mean "chain_sum"'),
            ({"config": {"max_termz": 2}}, r"tasks\.sums\.config: .*max_termz"),
            ({"config": {"min_terms": 3, "max_terms": 2}}, r"tasks\.sums\.config: "),
            ({"question": "{expresion}"}, r'tasks\.sums\.question: .*Did you mean "expression"'),
            ({"question": "{expression"}, r"tasks\.sums\.question: not a template"),
            ({"slice": "carry"}, r'tasks\.sums\.slice: .*Did you mean "carries"'),
            ({"metric": "exact"}, r'tasks\.sums\.metric: .*Did you mean "exact_match"'),
            ({"config": {"max_terms": 2, "max_digits": 1}, "items": 500}, r"tasks\.sums\.items: .*distinct"),
        ],
    )
    def test_wrong_requests_are_named(self, change: dict, said: str, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match=said):
            suites.generate(suite(sums={**SUMS, **change}), tmp_path)


class TestLocal:
    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        folder = tmp_path / "base" / "quiz"
        (folder / "deep").mkdir(parents=True)
        (folder / "quiz.yaml").write_text("task: quiz")
        (folder / "deep" / "quiz.jsonl").write_text("{}")
        return folder.parent

    def test_copies_files_and_digests_content(self, base: Path, tmp_path: Path) -> None:
        mine = suite(quiz={"task": "quiz", "path": "quiz"}, sums=SUMS)
        suites.copy_local(mine, base, tmp_path / "store")
        assert (tmp_path / "store/tasks/quiz/deep/quiz.jsonl").read_text() == "{}"
        before = suites.inputs(mine, base)
        assert list(before) == ["tasks/quiz", "generator"]  # sums are generated
        (base / "quiz/deep/quiz.jsonl").write_text("{ }")
        assert suites.inputs(mine, base) != before

    def test_a_missing_folder_is_named(self, base: Path) -> None:
        with pytest.raises(RequestError, match=r'suite mine: tasks\.quiz\.path: .*quizz.*Did you mean "quiz"'):
            suites.inputs(suite(quiz={"task": "quiz", "path": "quizz"}), base)

    def test_a_folder_without_tasks_is_named(self, base: Path, tmp_path: Path) -> None:
        mine = suite(quiz={"task": "quiz", "path": "quiz/deep"})
        with pytest.raises(RequestError, match=r"no \.yaml file"):
            suites.copy_local(mine, base, tmp_path / "store")

    def test_links_out_of_the_folder_are_refused(self, base: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("x")
        (base / "quiz/link.jsonl").symlink_to(tmp_path / "secret")
        with pytest.raises(RequestError, match=r"link\.jsonl is a link out of the folder"):
            suites.copy_local(suite(quiz={"task": "quiz", "path": "quiz"}), base, tmp_path / "store")
        assert not (tmp_path / "store/tasks/quiz/link.jsonl").exists()

    def test_only_generated_suites_do_without_lm_eval(self) -> None:
        assert not suites.needs_lm_eval(suite(sums=SUMS))
        assert suites.needs_lm_eval(suite(sums=SUMS, arc={"task": "arc_easy"}))


class TestFinish:
    @given(count=st.integers(1, 60), share=st.floats(0, 0.99))
    def test_halves_are_exact_and_do_not_depend_on_order(
        self, tmp_path_factory: pytest.TempPathFactory, count: int, share: float
    ) -> None:
        mine = suite(share, a={"task": "a"})
        folder = tmp_path_factory.mktemp("suite")
        frame = suites.finish(mine, items(count), folder)
        assert abs((frame["half"] == "confirmation").sum() - count * share) <= 0.5
        back = suites.finish(mine, items(count)[::-1], folder)
        assert dict(frame.select("item_id", "half").iter_rows()) == dict(back.select("item_id", "half").iter_rows())

    @settings(deadline=None)
    @given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=30), share=st.floats(0, 0.9), rng=st.randoms())
    def test_a_cluster_is_in_one_half(
        self, tmp_path_factory: pytest.TempPathFactory, sizes: list[int], share: float, rng: random.Random
    ) -> None:
        listed = items(sum(sizes))
        groups = [f"g{number}" if size > 1 else None for number, size in enumerate(sizes) for _ in range(size)]
        for item, group in zip(listed, groups, strict=True):
            item["group"] = group
        mine, folder = suite(share, a={"task": "a", "group": "field"}), tmp_path_factory.mktemp("suite")
        frame = suites.finish(mine, listed, folder)
        for held in frame.drop_nulls("group").partition_by("group"):
            assert held["half"].n_unique() == 1
        confirmed = int((frame["half"] == "confirmation").sum())
        assert confirmed <= len(frame) * share + max(sizes) / 2
        if len(sizes) > 2 * max(sizes):  # enough of them to come near
            assert confirmed >= len(frame) * share - max(sizes) / 2 - 2 * max(sizes) * (share > 0.5)
        rng.shuffle(listed)
        again = suites.finish(mine, listed, folder)
        assert dict(frame.select("item_id", "half").iter_rows()) == dict(again.select("item_id", "half").iter_rows())

    @pytest.mark.parametrize("clusters", [2, 3, 4])
    def test_of_few_clusters_two_decide(self, clusters: int, tmp_path: Path) -> None:
        listed = items(clusters * 10)
        for index, item in enumerate(listed):
            item["group"] = f"g{index % clusters}"
        frame = suites.finish(suite(0.9, a={"task": "a", "group": "field"}), listed, tmp_path)
        assert frame.filter(frame["half"] == "selection")["group"].n_unique() == 2

    def test_items_that_share_a_passage_are_one_cluster_unless_the_task_says_otherwise(self, tmp_path: Path) -> None:
        words = (
            "so as it was told by the old keeper of the light who had seen many ships pass in his long and quiet life"
        )
        listed = items(20)
        for item in listed[:4]:
            item["question"] = f"{words}. {item['question']}?"
        for item in listed[4:7]:
            item["documents"] = ["docid: 7"]
        frame = suites.finish(suite(a={"task": "a"}), listed, tmp_path)
        groups = frame["group"].to_list()
        assert len(set(groups[:4])) == len(set(groups[4:7])) == 1
        assert groups[0] != groups[4]
        assert groups[7:] == [None] * 13
        said = suites.finish(suite(a={"task": "a", "group": "none"}), listed, tmp_path)
        assert said["group"].null_count() == 20

    def test_halves_of_items_that_stand_alone_are_as_they_were(self, tmp_path: Path) -> None:
        frame = suites.finish(suite(0.3, a={"task": "a"}), items(50), tmp_path)
        first = set(frame["item_id"].sort()[:15])
        assert set(frame.filter(frame["half"] == "confirmation")["item_id"]) == first

    def test_each_task_is_split_on_its_own(self, tmp_path: Path) -> None:
        mine = suite(a={"task": "a"}, b={"task": "b"})
        frame = suites.finish(mine, items(7, "a") + items(20, "b"), tmp_path)
        counts = frame.group_by("task", "half").len().sort("task", "half")["len"].to_list()
        assert counts == [4, 3, 10, 10]
        assert frame["item_id"].n_unique() == 27

    def test_repeats_keep_the_first_and_the_file_is_what_is_returned(self, tmp_path: Path) -> None:
        frame = suites.finish(suite(a={"task": "a"}), items(5) + items(3), tmp_path)
        assert frame["index"].to_list() == [0, 1, 2, 3, 4]
        assert frame.columns == list(ITEM_COLUMNS)
        assert pl.read_parquet(tmp_path / "items.parquet").equals(frame)

    def test_the_digest_sees_every_column(self, tmp_path: Path) -> None:
        frame = suites.finish(suite(a={"task": "a"}), items(5), tmp_path)
        whole = suites.items_digest(frame)
        assert whole == suites.items_digest(pl.read_parquet(tmp_path / "items.parquet"))
        for column in ITEM_COLUMNS:
            other = frame.with_columns(pl.lit(None).alias(column))
            assert (suites.items_digest(other) != whole) == (frame[column].null_count() < len(frame))

    def test_a_task_without_items_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match=r"tasks\.b has no items"):
            suites.finish(suite(a={"task": "a"}, b={"task": "b"}), items(5), tmp_path)
