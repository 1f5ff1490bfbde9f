"""What is Ray's alone: environments, reasons, hardware, a store that is not shared, and what is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.engines.config import RayConfig
from harness.engines.jobs import Event, Job
from harness.errors import RequestError, StepError
from harness.store import Store
from tests.bucket import CREDENTIALS
from tests.command import HANGS, ROOT, argv, environment, harness
from tests.conftest import SMALL_STUDY
from tests.engines.conftest import PATIENCE, QUIET, SMALL, gone, of_ray
from tests.engines.told import Told
from tests.jobs import run_job
from tests.tracking.shown import free_port

ONE_MACHINE = ROOT / "configs" / "engines" / "ray-one-machine.yaml"


def job(name: str, label: str = "", block: str = "", hardware: str = "") -> Job:
    return run_job(name, label, block=block, hardware=hardware)


def engine(cluster: Any, logs: Path, **config: Any) -> Any:
    from harness.engines.ray import RayEngine

    return RayEngine(RayConfig(address=cluster.address, **config), logs, "abc", make=Told)


def told(made: Any, jobs: list[Job]) -> tuple[dict[str, Any], list[tuple[Job, Event]], list[Event]]:
    """Return what each job gave, what failed, and all events."""
    heard: list[Event] = []
    failed = made.run(jobs, lambda _, __, event: heard.append(event))
    return {event.id: event.data for event in heard if event.event == "done"}, failed, heard


def shared(made: Any, jobs: list[Job], gate: Path, workers: int) -> dict[str, Any]:
    """Return what each job gave; no job ends before so many workers have one, however long they take to start."""
    at_work: set[int] = set()
    gave: dict[str, Any] = {}

    def listen(slot: int, one: Job, event: Event) -> None:
        at_work.add(slot)
        if event.event == "done":
            gave[event.id] = event.data
        if len(at_work) == workers:
            gate.touch()

    assert made.run([one.model_copy(update={"label": f"until {gate}"}) for one in jobs], listen) == []
    return gave


# ------------------------------------------------------------------------------------------------------- workers


@pytest.mark.ray
def test_workers_start_with_their_environment_and_stay(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    made = engine(cluster, tmp_path / "logs", env={"OURS": "1", "MKL_CBWR": "COMPATIBLE"})
    gave = shared(made, [job(str(i)) for i in range(6)], tmp_path / "gate", 2)
    assert len({data["process"] for data in gave.values()}) == 2  # persistent: two workers did six jobs
    for data in gave.values():
        there = data["started_with"]
        # The allocator reads its settings when the process starts: later would be too late.
        assert there["MALLOC_MMAP_MAX_"] == "0"
        assert (there["OMP_NUM_THREADS"], there["HARNESS_DEVICE"], there["HARNESS_COMMIT"]) == ("1", "cpu", "abc")
        assert (there["OURS"], there["MKL_CBWR"]) == ("1", "COMPATIBLE")
        assert there.get("HF_TOKEN") != "hf_secret"


@pytest.mark.ray
def test_a_lost_worker_is_tried_again_as_often_as_allowed_and_the_reason_is_kept(cluster: Any, tmp_path: Path) -> None:
    made = engine(cluster, tmp_path / "logs", retries=1, workers=1)
    jobs = [job("a", "killed"), job("b", "exits"), job("c")]
    jobs = [one.model_copy(update={"store": str(tmp_path / "store")}) for one in jobs]
    gave, failed, heard = told(made, jobs)
    assert set(gave) == {"c"}
    assert [one.id for one, _ in failed] == ["a", "b"]
    for one, event in failed:
        assert event.message.endswith(", 2 times")
        assert event.detail.count("\n") == 1  # both reasons
        kept = Store(tmp_path / "store").failure(one.id)
        assert kept is not None
        assert kept.detail == event.detail
    notes = [event for event in heard if event.event == "note"]
    assert [event.id for event in notes] == ["a", "b"]
    assert all("worker process" in event.message for event in notes), notes


@pytest.mark.ray
def test_a_preempted_node_is_told_so_and_its_run_goes_on_elsewhere(cluster: Any, tmp_path: Path) -> None:
    """As a cloud takes a spot machine away: Ray is warned, then the machine is gone."""
    doomed = cluster.add_node(wait=False, num_cpus=2, labels={"hardware": "big"}, **SMALL)
    cluster.wait_for_nodes(timeout=PATIENCE)
    made = engine(cluster, tmp_path / "logs", workers=1, retries=1, worker={"cpus": 2})
    gate = tmp_path / "gate"
    notes: list[str] = []
    spare: list[Any] = []

    def listen(slot: int, one: Job, event: Event) -> None:
        if event.event == "stage" and doomed in cluster.worker_nodes:
            ray = Path(sys.executable).with_name("ray")
            reason = "--reason DRAIN_NODE_REASON_PREEMPTION --deadline-remaining-seconds 30"
            subprocess.run(
                [ray, "drain-node", "--address", cluster.address, "--node-id", doomed.node_id, *reason.split(),
                 "--reason-message", "spot"], check=False, timeout=HANGS,  # it may be gone before it answers
            )  # fmt: skip
            spare.append(cluster.add_node(wait=False, num_cpus=2, labels={"hardware": "big"}, **SMALL))
            cluster.remove_node(doomed, allow_graceful=False)
        if event.event == "note":
            notes.append(event.message)
            gate.touch()

    gave: list[Event] = []
    failed = made.run([job("a", f"until {gate}")], lambda *heard: (listen(*heard), gave.append(heard[2])))
    assert not failed
    assert notes == ["its node was preempted; tried again"]
    (place,) = [event.data["place"] for event in gave if event.event == "done"]
    assert [reason.partition(": ")[2] for reason in place["tried_again_after"]] == ["its node was preempted"]
    cluster.remove_node(spare[0])


@pytest.mark.ray
def test_seeds_stay_on_one_kind_of_hardware_and_go_back_to_where_they_were_begun(cluster: Any, tmp_path: Path) -> None:
    jobs = [job(f"{seed}/{arm}", block=f"seed {seed}") for seed in range(4) for arm in range(3)]
    jobs += [job(f"5/{arm}", block="seed 5", hardware="small") for arm in range(2)]
    gave = shared(engine(cluster, tmp_path / "logs"), jobs, tmp_path / "gate", 2)
    kinds: dict[str, set[str]] = {}
    for data in gave.values():
        kinds.setdefault(data["place"]["block"], set()).add(data["place"]["hardware"])
    assert all(len(kind) == 1 for kind in kinds.values())
    assert kinds["seed 5"] == {"small"}
    assert set.union(*kinds.values()) == {"big", "small"}
    assert all(data["place"]["engine"] == "ray" and data["place"]["node"] for data in gave.values())


@pytest.mark.ray
def test_a_seed_whose_hardware_is_gone_goes_on_elsewhere_and_says_so(cluster: Any, tmp_path: Path) -> None:
    gave, failed, _ = told(engine(cluster, tmp_path / "logs"), [job("a", "", "seed 1", "A100"), job("b", "", "seed 2")])
    assert not failed
    assert gave["a"]["place"]["block_was_on"] == ["A100"]
    assert "block_was_on" not in gave["b"]["place"]


@pytest.mark.ray
def test_labels_choose_nodes(cluster: Any, tmp_path: Path) -> None:
    made = engine(cluster, tmp_path / "logs", worker={"labels": {"hardware": "small"}})
    assert [(node.hardware, node.slots) for node in made.nodes] == [("small", 1)]
    gave, failed, _ = told(made, [job("a"), job("b")])
    assert not failed
    assert {data["place"]["hardware"] for data in gave.values()} == {"small"}


@pytest.mark.ray
def test_workers_share_a_gpu_and_each_sees_its_own(cluster: Any, tmp_path: Path) -> None:
    """Of GPUs that are only said to be there: what Ray makes of a worker's share, not what a GPU makes of a worker."""
    doomed = cluster.add_node(wait=False, num_cpus=4, num_gpus=2, labels={"hardware": "cards"}, **SMALL)
    cluster.wait_for_nodes(timeout=PATIENCE)
    try:
        made = engine(cluster, tmp_path / "logs", device="cpu", worker={"gpus": 0.5, "cpus": 0.5})
        assert [(node.hardware, node.slots) for node in made.nodes] == [("cards", 4)]
        gave = shared(made, [job(str(number)) for number in range(8)], tmp_path / "gate", 4)
        cards = {data["process"]: data["gpus"] for data in gave.values()}
        assert Counter(cards.values()) == {"0": 2, "1": 2}
    finally:
        cluster.remove_node(doomed)


# ---------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.ray
def test_no_room_is_a_wrong_request(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"no node .* room for a worker \(1 CPU, 2 GPU\); largest node: 1 CPU, 0 GPU"
    ):
        engine(cluster, tmp_path, worker={"gpus": 2})


@pytest.mark.ray
def test_workers_that_never_come_are_waited_for_only_so_long(cluster: Any, tmp_path: Path) -> None:
    made = engine(cluster, tmp_path / "logs", workers=2, worker={"gpus": 1}, patience=2)
    with pytest.raises(
        StepError, match=r"no worker has started within 2 s .* needs 1 CPU, 1 GPU; 0 would find room now"
    ):
        told(made, [job("a")])


@pytest.mark.ray
def test_a_store_that_is_not_shared_is_said_so(cluster: Any, tmp_path: Path) -> None:
    from harness.engines.ray.actor import Actor

    words = "the store must be in a folder that all nodes share"
    with pytest.raises(StepError, match=words):
        Actor(Told, str(tmp_path / "logs" / "worker-0.log"), "token", "cpu").hello()
    (tmp_path / "worker-0.log").write_text("worker 0 of another time\n")
    with pytest.raises(StepError, match=words):
        Actor(Told, str(tmp_path / "worker-0.log"), "token", "cpu").hello()


@pytest.mark.ray
def test_an_error_of_the_harness_itself_in_a_worker_is_not_tried_again(cluster: Any, tmp_path: Path) -> None:
    made = engine(cluster, tmp_path / "logs")
    made.make = print  # no worker: has no `do`
    with pytest.raises(StepError, match=r"worker \d cannot start|a worker cannot start|worker \d failed"):
        told(made, [job("a")])


@pytest.mark.ray
def test_a_node_that_cannot_reach_the_object_store_says_so(
    cluster: Any, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.engines.ray import RayEngine

    monkeypatch.setenv("HARNESS_COPIES", str(tmp_path / "copies"))
    config = RayConfig(address=cluster.address, env={name: os.environ[name] for name in CREDENTIALS})
    made = RayEngine(config, tmp_path, make=Told, url="s3://no-such-bucket/x")
    with pytest.raises(StepError, match=r"cannot use the store: --store: s3://no-such-bucket/x: there is no such buck"):
        told(made, [job("a")])


@pytest.mark.ray
def test_parts_of_sources_need_a_folder_that_all_nodes_share(cluster: Any, tmp_path: Path) -> None:
    from harness.engines.ray import RayEngine

    made = RayEngine(RayConfig(address=cluster.address, data="ray"), tmp_path, url="s3://bucket/x")
    with pytest.raises(RequestError, match="data: ray needs a store in a folder that all nodes share"):
        made.pools(Store(tmp_path))


def test_without_ray_it_says_how_to_get_it(study_folder: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "sys.argv = ['harness', 'plan', 'study.yaml', '--engine', 'ray']\n"
        "from harness.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=study_folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--engine: Ray is not installed; pip install 'ablation-harness[ray]'" in done.stderr


@pytest.mark.ray
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "rey"], '--engine: "rey" is no engine'),
        (["--address", "auto"], "--address: the local engine has none; did you mean --engine ray?"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "--address: 127.0.0.1:1: no Ray cluster can be reached"),
    ],
)
def test_wrong_options(study_folder: Path, options: list[str], words: str) -> None:
    pytest.importorskip("ray")
    called = harness("plan", "study.yaml", *options, cwd=study_folder)
    assert called.code == 2, called.err
    assert words in called.err
    assert called.err.count("\n") == 1


@pytest.mark.ray
@pytest.mark.parametrize(
    ("wanted", "error", "hinted"),
    [
        ("ray://host:10001", RuntimeError("no answer"), True),
        ("host:6379", TimeoutError(), True),
        ("host:6379", ConnectionRefusedError(), False),  # nobody is there to ask for a token
        ("auto", ConnectionError("none is running"), False),
    ],
)
def test_the_token_is_named_where_it_may_be_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, error: Exception, hinted: bool
) -> None:
    pytest.importorskip("ray", reason="needs the ray extra")
    from harness.engines.ray import cluster

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cluster._token_hint(error, wanted) == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch()
    assert ("RAY_AUTH_MODE=token" in cluster._token_hint(error, wanted)) == hinted
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert cluster._token_hint(error, wanted) == ""


@pytest.mark.parametrize("command", ["--help", "plan study.yaml", "doctor"])
def test_who_does_not_ask_for_ray_never_imports_it(study_folder: Path, command: str) -> None:
    code = (
        f"import sys; sys.argv = ['harness', *{command.split()!r}]\n"
        "from harness.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('RAY', 'ray' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=study_folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert "RAY False" in done.stderr, done.stderr


# -------------------------------------------------------------------------------------------------------- commands


@pytest.mark.ray
@pytest.mark.slow
def test_plan_shows_slots_packing_and_makespan(cluster: Any, study_folder: Path) -> None:
    options = ("plan", "study.yaml", "--engine", "ray", "--address", cluster.address)
    called = harness(*options, "--json", cwd=study_folder, **QUIET)
    assert called.code == 0, called.err
    found = called.json["engine"]
    assert (found["workers"], found["device"]) == (2, "cpu")
    assert {(node["hardware"], node["slots"]) for node in found["nodes"]} == {("big", 1), ("small", 1)}
    packed = [name for slot in found["slots"] for name in slot["jobs"]]
    assert len(packed) == len(set(packed)) == len(called.json["runs"]) + 1
    keys = {run["key"]: run["seed"] for run in called.json["runs"]}
    seeds = Counter((keys[name], slot["hardware"]) for slot in found["slots"] for name in slot["jobs"] if name in keys)
    assert sorted(seeds.values()) == [6, 6]  # a seed's six variants are on one kind of hardware
    assert found["makespan"] > max(slot["seconds"] for slot in found["slots"]) > 0
    shown = harness(*options, cwd=study_folder, **QUIET)
    assert shown.code == 0, shown.err
    assert "2 slots (1 CPU each), 2 free now" in shown.err
    assert "Done after about" in shown.out
    assert "the runs of a seed stay on one kind of hardware" in shown.out


@pytest.mark.ray
@pytest.mark.slow
def test_stopped_or_killed_it_leaves_nothing_running_and_goes_on_from_what_is_finished(
    cluster: Any, study_folder: Path, alone: dict[str, str]
) -> None:
    """Stopped and killed with a Ray of its own, killed as a guest of a cluster that goes on."""
    own, guest = ("--engine", ONE_MACHINE), ("--engine", "ray", "--address", cluster.address)
    for where, ending, code in ((own, signal.SIGINT, 130), (own, signal.SIGKILL, -9), (guest, signal.SIGKILL, -9)):
        before = len(Store(study_folder / ".harness").artifacts("result"))
        with (study_folder / "err").open("w") as err:
            driver = subprocess.Popen(
                argv("run", "study.yaml", *where, "--no-track"), cwd=study_folder, stderr=err,
                stdout=subprocess.DEVNULL, env=environment(**alone),
            )  # fmt: skip
        started = time.monotonic()
        while len(Store(study_folder / ".harness").artifacts("result")) < before + 2:
            assert time.monotonic() - started < 600, (study_folder / "err").read_text()
            assert driver.poll() is None, (study_folder / "err").read_text()
            time.sleep(0.02)
        driver.send_signal(ending)
        assert driver.wait(timeout=300) == code, (study_folder / "err").read_text()
        gone(study_folder)
        if ending == signal.SIGINT:
            said = (study_folder / "err").read_text()
            assert f"Go on: harness run study.yaml --engine {ONE_MACHINE}" in said
    done = {one.record.key: one.record.created for one in Store(study_folder / ".harness").artifacts("adapter")}
    assert done
    called = harness("run", "study.yaml", *guest, "--no-track", "--json", cwd=study_folder, **alone)
    assert called.code == 0, called.err
    assert not called.json["failed"]
    after = {one.record.key: one.record.created for one in Store(study_folder / ".harness").artifacts("adapter")}
    assert len(after) == 12
    assert {key: after[key] for key in done} == done  # nothing was trained twice
    gone(study_folder)


@pytest.mark.ray
@pytest.mark.slow
def test_a_driver_that_is_no_part_of_the_cluster(study_folder: Path, alone: dict[str, str]) -> None:
    """Through Ray's client server: killed, its workers go; asked again, it goes on; planned, it sees the cluster.

    What the server starts for a guest may end at once (ray-project/ray#63202): the guest knocks again.
    """
    pytest.importorskip("ray", reason="needs the ray extra")
    pytest.importorskip("grpc", reason="needs ray[client]")
    (study_folder / "study.yaml").write_text(SMALL_STUDY)
    alone |= {"RAY_AUTH_MODE": "disabled"}
    port, clients = free_port(), free_port()
    ray = Path(sys.executable).with_name("ray")
    options = f"--port {port} --ray-client-server-port {clients} --num-cpus 2 --object-store-memory {80 * 2**20}"
    subprocess.run(
        [ray, "start", "--head", "--include-dashboard=false", *options.split()], check=True, capture_output=True,
        env=environment(**alone, RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S="10"), timeout=PATIENCE,
    )  # fmt: skip
    where = ("--engine", "ray", "--address", f"ray://127.0.0.1:{clients}")
    store = Store(study_folder / ".harness")
    with (study_folder / "err").open("w") as err:
        driver = subprocess.Popen(
            argv("run", "study.yaml", *where, "--no-track"), cwd=study_folder, stderr=err, stdout=subprocess.DEVNULL,
            env=environment(**alone),
        )  # fmt: skip
    started = time.monotonic()
    while len(store.artifacts("result")) < 2:
        assert time.monotonic() - started < 300, (study_folder / "err").read_text()
        assert driver.poll() is None, (study_folder / "err").read_text()
        time.sleep(0.02)
    workers = [process for process in of_ray(study_folder) if "Actor" in "".join(process.cmdline())]
    assert workers
    driver.kill()
    driver.wait()
    _, left = psutil.wait_procs(workers, timeout=HANGS)  # Ray waits half a minute for a client that may come back
    assert not left
    done = {one.record.key: one.record.created for one in store.artifacts("adapter")}
    called = harness("run", "study.yaml", *where, "--no-track", "--json", cwd=study_folder, **alone)
    assert called.code == 0, called.err
    assert not called.json["failed"]
    after = {one.record.key: one.record.created for one in store.artifacts("adapter")}
    assert len(after) == 6
    assert {key: after[key] for key in done} == done
    before = set(serving(study_folder))
    with (study_folder / "planned").open("w") as out:
        planned = subprocess.Popen(
            argv("plan", "study.yaml", *where, "--json"), cwd=study_folder, stdout=out, env=environment(**alone)
        )
    while not (started_now := set(serving(study_folder)) - before):
        assert planned.poll() is None, "nothing was started for this guest"
    started_now.pop().kill()
    assert planned.wait(timeout=300) == 0
    shown = json.loads((study_folder / "planned").read_text())
    assert [node["slots"] for node in shown["engine"]["nodes"]] == [2]


def serving(folder: Path) -> list[psutil.Process]:
    """Return what Ray's client server has started for its guests."""
    found = []
    for process in of_ray(folder):
        with contextlib.suppress(psutil.Error):
            found += [process] if "--mode=specific-server" in process.cmdline() else []
    return found
