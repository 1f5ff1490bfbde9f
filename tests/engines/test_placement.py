"""Who gets which job: blocks stay whole on one kind of hardware, nothing is lost, and packing keeps the books."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engines.config import WorkerConfig
from harness.engines.jobs import Job
from harness.engines.placement import Blocks, Node, fits, labelled, largest, pack, room
from tests.jobs import run_job


def job(name: str, block: str = "", hardware: str = "") -> Job:
    return run_job(name, block=block, hardware=hardware)


def sweep(seeds: int, arms: int) -> list[Job]:
    return [job("base"), *(job(f"{seed}/{arm}", f"seed {seed}") for seed in range(seeds) for arm in range(arms))]


@given(
    seeds=st.integers(1, 6),
    arms=st.integers(1, 6),
    kinds=st.lists(st.sampled_from("abc"), min_size=1, max_size=5),
    chance=st.integers(0, 10**6),
)
def test_every_job_is_done_once_and_a_block_never_sees_two_kinds(
    seeds: int, arms: int, kinds: list[str], chance: int
) -> None:
    """Workers come in any order, and some jobs come back because their worker was lost."""
    dice = random.Random(chance)
    jobs = sweep(seeds, arms)
    blocks, done, where = Blocks(jobs), [], {}
    assert len(blocks) == len(jobs)
    while len(blocks):
        kind = dice.choice(kinds)
        taken = blocks.take(kind)
        if taken is None:
            continue
        if dice.random() < 0.3:
            blocks.put_back(taken)
            continue
        done.append(taken.id)
        if taken.block:
            where.setdefault(taken.block, set()).add(kind)
    assert sorted(done) == sorted(one.id for one in jobs)
    assert all(len(seen) == 1 for seen in where.values())
    assert not blocks.moved


def test_with_one_kind_jobs_come_in_the_order_they_were_given() -> None:
    jobs = sweep(3, 4)
    blocks = Blocks(jobs)
    assert [taken.id for _ in jobs if (taken := blocks.take("cpu"))] == [one.id for one in jobs]
    assert blocks.take("cpu") is None


def test_a_block_goes_on_where_it_was_begun_before() -> None:
    blocks = Blocks([job("a", "seed 1", "old"), job("b", "seed 2"), job("c", "seed 1", "old")])
    assert blocks.take("new") == job("b", "seed 2")
    assert blocks.take("new") is None
    assert [one.id for _ in range(2) if (one := blocks.take("old"))] == ["a", "c"]


def test_all_that_is_left_is_taken_out_at_once_wherever_it_belongs() -> None:
    jobs = [job("base"), *sweep(3, 2)[1:], job("old", "seed 9", "old")]
    blocks = Blocks(jobs)
    taken = [blocks.take("new") for _ in range(2)]  # the one without a block, and one of a block that is now bound
    left = blocks.clear()
    assert len(left) == len({one.id for one in left}) == len(jobs) - 2
    assert {one.id for one in left} == {one.id for one in jobs} - {one.id for one in taken if one}
    assert len(blocks) == 0
    assert blocks.take("new") is blocks.take("old") is None
    assert blocks.clear() == []


def test_a_block_moves_only_when_its_hardware_is_gone_and_that_is_known_afterwards() -> None:
    blocks = Blocks([job("a", "seed 1"), job("b", "seed 1"), job("c", "seed 2")])
    first = blocks.take("spot")
    assert first is not None
    blocks.put_back(first)
    assert blocks.move({"spot", "own"}) == {}
    assert blocks.move({"own"}) == {"seed 1": "spot"}
    assert [one.id for _ in range(3) if (one := blocks.take("own"))] == ["a", "b", "c"]
    assert blocks.moved == {"seed 1": ["spot"]}


@given(
    seconds=st.lists(st.floats(0.1, 100), min_size=1, max_size=40),
    slots=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    workers=st.integers(1, 12),
)
def test_packing_does_every_job_once_and_greedily(seconds: list[float], slots: list[int], workers: int) -> None:
    jobs = [job(str(index), f"seed {index // 4}") for index in range(len(seconds))]
    took = {one.id: value for one, value in zip(jobs, seconds, strict=True)}
    nodes = [Node(f"node-{i}", "same", count) for i, count in enumerate(slots)]
    packed = pack(jobs, took, nodes, workers)
    assert len(packed) == workers
    assert sorted(name for slot in packed for name in slot.jobs) == sorted(took)
    for slot in packed:
        assert slot.seconds == pytest.approx(sum(took[name] for name in slot.jobs))
    # Graham (1966): taking jobs as workers come free is never worse than twice the best.
    assert max(slot.seconds for slot in packed) <= sum(seconds) / workers + max(seconds) + 1e-6


def test_packing_keeps_seeds_on_one_kind_and_fills_machines_to_come() -> None:
    jobs = sweep(4, 3)
    nodes = [Node("big", "H100", 2), Node("small", "A100", 1)]
    packed = pack(jobs, {one.id: 1.0 for one in jobs}, nodes, 4)
    assert [slot.node for slot in packed] == ["big", "small", "big", "a node to come"]
    kinds: dict[str, set[str]] = {}
    for slot in packed:
        for name in slot.jobs:
            kinds.setdefault(name.split("/")[0], set()).add(slot.hardware)
    assert all(len(kinds[str(seed)]) == 1 for seed in range(4))


GPU = {"Resources": {"CPU": 16.0, "GPU": 2.0, "memory": 64 * 2**30, "spot": 1.0}, "Labels": {"zone": "b"}}


@pytest.mark.parametrize(
    ("worker", "slots"),
    [
        ({}, 16), ({"cpus": 3}, 5), ({"gpus": 1}, 2), ({"gpus": 0.5}, 4), ({"gpus": 0.6}, 2), ({"gpus": 2}, 1),
        ({"gpus": 4}, 0), ({"memory_gib": 20}, 3), ({"resources": {"spot": 0.5}}, 2), ({"resources": {"none": 1}}, 0),
        ({"labels": {"zone": "b"}}, 16), ({"labels": {"zone": "a"}}, 0), ({"cpus": 8, "gpus": 0.25}, 2),
    ],
)  # fmt: skip
def test_room_on_a_node(worker: dict[str, object], slots: int) -> None:
    assert room(GPU, WorkerConfig.model_validate(worker)) == slots


def test_what_is_said_of_nodes() -> None:
    assert largest([{"Resources": {"CPU": 1.0, "node:1.2.3.4": 1.0}, "Labels": {}}, GPU]) == (
        "16 CPU, 2 GPU, 64.0 GiB, 1 spot"
    )
    assert fits({}, WorkerConfig()) == 0
    node = {"Labels": {"ray.io/accelerator-type": "H100"}}
    assert (labelled(node, "cuda"), labelled(node, "cpu")) == ("H100", None)
    assert labelled({"Labels": {"hardware": "ours", **node["Labels"]}}, "cuda") == "ours"
