"""A worker: a process that loads the base model once and carries out jobs until its input closes.

``python -m harness.engines.worker`` reads jobs from standard input and writes events to the file descriptor that
standard output was; what libraries print goes to standard error. When the driver dies, the input closes and the
worker ends, even in the middle of a step: artifacts are published by rename, so none is left half done.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import os
import platform
import queue
import shutil
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from harness import models, outside, trusted
from harness.engines.jobs import (
    COMMON,
    LOST,
    STOP,
    UNKEPT,
    BaseJob,
    Event,
    Job,
    ModelJob,
    PerplexityJob,
    RunJob,
    SuiteJob,
    keep_failure,
    read_job,
)
from harness.engines.meter import SAMPLE_SECONDS, Meter, peak_memory
from harness.engines.slots import processor
from harness.errors import STORAGE, HarnessError, StepError, storage_problem
from harness.escaping import redacted
from harness.identity import sequence_digest
from harness.spec import Suite
from harness.statistics.scores import LARGEST
from harness.store import Artifact, Step, Store, located
from harness.study.steps import result_step
from harness.tokens import Encoded, from_table

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "lm_eval", "numpy")
REHEARSING = "rehearsing the evaluation"
LOST_CODE = 4  # exit code of a worker whose device is lost; the engine starts another
NO_ROOM = tuple(STORAGE[number] for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS))


class Worker:
    """Carries out jobs; keeps the base model between them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._loaded: tuple[str, Any, Any] | None = None
        self._stores: dict[str, Store] = {}  # kept between jobs, with their listings
        self._device = ""
        self.place: dict[str, Any] = {}  # where the engine started this worker; goes into the provenance
        self.stage = ""
        self._rehearsed: set[str] = set()  # keys of base-model results whose evaluation was tried before training
        self.lost = False  # whether the device fails at everything from now on: the process must end
        self.stopping = threading.Event()  # set to end the worker: training writes a checkpoint after its current step
        self.keeping = threading.Lock()  # held while a result is written; code that ends the process acquires it first

    def say(self, **fields: Any) -> None:
        """Send one event."""
        self._out.write(Event(**fields).model_dump_json() + "\n")
        self._out.flush()

    def do(self, job: Job) -> None:
        """Carry out a job and report how it ended. An error is reported too, and does not end the worker."""
        self.stage = "starting"
        try:
            data = self._carry_out(job)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # one run's failure (a task's own sys.exit, too) must not stop the sweep
            message = redacted(_words(error))
            failed = Event(
                event="failed", id=job.id, stage=self.stage, message=message, detail=redacted(traceback.format_exc()),
                data={COMMON: True} if message.startswith(NO_ROOM) or self.stage == REHEARSING else {},
            )  # fmt: skip
            self.lost = _device_lost()
            failed.data |= {LOST: True} if self.lost else {}
            try:
                keep_failure(job, failed)
            except UNKEPT as second:  # usually the same full disk: reported to the driver anyway
                failed.detail += f"\nand this could not be written down: {second}"
            self.say(**failed.model_dump())
        else:
            self.say(event="done", id=job.id, data=data)

    def _carry_out(self, job: Job) -> dict[str, Any]:
        match job:
            case RunJob():
                return self._run(job)
            case BaseJob():
                return self._base(job)
            case ModelJob():
                return self._model(job)
            case SuiteJob():
                return self._suite(job)
            case PerplexityJob():
                return self._perplexity(job)

    # ------------------------------------------------------------------------------------------------------- jobs

    def _model(self, job: ModelJob) -> dict[str, Any]:
        self._enter(job, "preparing the model")
        return {"folder": str(models.prepare(job.model, self._store(job)))}

    def _suite(self, job: SuiteJob) -> dict[str, Any]:
        self._enter(job, "reading the suite's tasks")
        from harness.evaluation import tasks

        items = tasks.materialize(job.suite, job.folder)
        target = job.folder / "materialized.json"
        target.write_text(json.dumps(items, ensure_ascii=False))
        return {"file": str(target)}

    def _perplexity(self, job: PerplexityJob) -> dict[str, Any]:
        self._enter(job, "loading")
        base, _ = self._base_model(job)
        from harness.evaluation.perplexity import perplexities

        self._enter(job, "measuring perplexity")
        written = json.loads((job.folder / "sequences.json").read_text())
        sequences = [Encoded(ids, labels) for ids, labels in written]
        (job.folder / "perplexities.json").write_text(json.dumps(perplexities(base, sequences)))
        return {}

    def _base(self, job: BaseJob) -> dict[str, Any]:
        store = self._store(job)
        step = _base_step(job)
        with store.lock(step.key):
            if store.find("result", step.key, step.name) is None:
                self._evaluate(job, store, step, None)
        return {}

    def _run(self, job: RunJob) -> dict[str, Any]:
        store = self._store(job)
        step = job.adapter
        with store.lock(step.key):
            adapter = store.find("adapter", step.key, step.name)
            if adapter is None:
                self._rehearse(job, store)
                adapter = self._train(job, store, step)
            _clear(store.checkpoints(step.key))
            result = result_step(step.name, job.recipe, job.suite_digest, job.model.digest, adapter.record.digest)
            if store.find("result", result.key, result.name) is None:
                self._evaluate(job, store, result, adapter)
        store.forget_failure(job.id)
        return {}

    # ------------------------------------------------------------------------------------------------------ steps

    def _train(self, job: RunJob, store: Store, step: Step) -> Artifact:
        import polars as pl

        self._enter(job, "loading")
        base, tokenizer = self._base_model(job)
        from harness.training.run import train

        tokens = store.find("tokens", job.tokens_key)
        if tokens is None:
            raise StepError(f"{job.label}: the token ids of its rows are not in the store; run `harness run` again")
        tokens_file = tokens.checked() / "tokens.arrow"
        table = pl.scan_ipc(tokens_file, glob=False).collect()  # memory-mapped: workers share one copy
        rows = from_table(table)
        self._enter(job, "training")

        def report(done: int, total: int, loss: float, rate: float) -> None:
            self.stage = f"training at step {done} of {total}"
            self.say(event="step", id=job.id, done=done, total=total, loss=loss, rate=rate)

        checkpoints = store.checkpoints(step.key)
        with self.keeping, store.attempt(step) as attempt:
            with Meter(SAMPLE_SECONDS if job.system_metrics else None) as meter:
                trained = train(
                    base, tokenizer, rows, table["row_id"].to_list(), job.recipe, job.seed, attempt.folder, report,
                    checkpoints, self.stopping.is_set,
                )  # fmt: skip
            attempt.digest = trained.digest
            attempt.data = {
                "steps": trained.steps,
                "tokens": trained.tokens,
                "seconds": round(trained.seconds, 3),
                "tokens_per_second": round(trained.tokens / max(trained.seconds, 1e-9), 2),
                "final_loss": trained.curve[-1]["loss"],
                "peak_memory": peak_memory(),
                "curve": trained.curve,
                **meter.figures(),
            }
            attempt.provenance = self._provenance()
        return _found(store, step)

    def _rehearse(self, job: RunJob, store: Store) -> None:
        """Check that the suite can be evaluated, before any time is spent on training.

        A stored result of the base model proves it; without one, the base model is evaluated on a few items, once.
        """
        base_step = _base_step(job)
        if base_step.key in self._rehearsed or store.find("result", base_step.key, base_step.name):
            return
        self._enter(job, "loading")
        base, tokenizer = self._base_model(job)
        from harness.evaluation.run import rehearse

        self._enter(job, REHEARSING)
        rehearse(base, tokenizer, job.suite, self._pinned(job, store), date=job.recipe.date)
        self._rehearsed.add(base_step.key)

    def _pinned(self, job: RunJob | BaseJob, store: Store) -> Path:
        pinned = store.find("suite", job.suite_key)
        if pinned is None:
            raise StepError(f"{job.label}: suite {job.suite.suite} is not in the store; run `harness run` again")
        return pinned.checked()

    def _evaluate(self, job: RunJob | BaseJob, store: Store, step: Step, adapter: Artifact | None) -> None:
        base, tokenizer = self._base_model(job)
        from harness.evaluation.run import evaluate
        from harness.training.run import adapted

        self._enter(job, "evaluating")
        suite, folder, date = job.suite, self._pinned(job, store), job.recipe.date

        def report(done: int, total: int) -> None:
            self.say(event="items", id=job.id, done=done, total=total)

        if adapter is None:
            outcome = evaluate(base, tokenizer, suite, folder, date=date, on_progress=report)
        else:
            with adapted(base, adapter.checked()) as model:
                outcome = evaluate(model, tokenizer, suite, folder, date=date, on_progress=report)
        _can_be_averaged(suite, outcome.items)
        with self.keeping, store.attempt(step) as attempt:
            outcome.items.write_parquet(attempt.folder / "items.parquet")
            attempt.digest = sequence_digest([outcome.items.write_ndjson()])
            attempt.data = {
                "scores": [score.model_dump(mode="json") for score in outcome.scores],
                "seconds": round(outcome.seconds, 3),
                "tokens": outcome.tokens,
                "scored_tokens": outcome.scored,
                "shared_context": outcome.shared_context,
                "peak_memory": peak_memory(),
            }
            attempt.provenance = self._provenance()

    # ----------------------------------------------------------------------------------------------------- around

    def _store(self, job: Job) -> Store:
        return self._stores.setdefault(job.store, located(job.store))

    def _enter(self, job: Job, stage: str) -> None:
        self.stage = stage
        self.say(event="stage", id=job.id, stage=stage)

    def _base_model(self, job: RunJob | BaseJob | PerplexityJob) -> tuple[Any, Any]:
        model = job.model
        if self._loaded is None or self._loaded[0] != model.digest:
            import torch

            wanted = os.environ.get("HARNESS_DEVICE", "")
            self._device = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
            if self._device == "cpu":
                torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
            with outside.watched():
                models.recognize(model)
                folder = models.prepare(model, self._store(job))
                loaded = models.load(folder, self._device, trust_remote_code=model.trust_remote_code)
            self._loaded = (model.digest, *loaded)
        return self._loaded[1], self._loaded[2]

    def _provenance(self) -> dict[str, Any]:
        hardware = self.place.get("hardware") or processor()
        if self._device.startswith("cuda"):
            import torch

            hardware = torch.cuda.get_device_name()
        return {
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
            "python": platform.python_version(),
            "device": self._device,
            "hardware": hardware,
            "workers": int(os.environ.get("HARNESS_WORKERS", "1")),
            "commit": os.environ.get("HARNESS_COMMIT", ""),
            **({"place": self.place} if self.place else {}),
        }


def _device_lost() -> bool:
    """Return whether CUDA fails at everything from now on, as after a device-side assert or an illegal access."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except Exception:  # a RuntimeError of one class or another, by version
        return True
    return False


def _can_be_averaged(suite: Suite, items: Any) -> None:
    """Refuse scores of a task's own code that cannot be averaged.

    Raises:
        StepError: A score is infinite, not a number, or so large that a sum of squared scores would be infinite.
    """
    import polars.selectors as cs

    for name in items.select(cs.float()).columns:
        wrong = items.filter(items[name].is_not_null() & ~items[name].abs().is_between(0, LARGEST))
        if len(wrong):
            task, subtask, score = wrong.row(0, named=True)["task"], wrong["subtask"][0], wrong[name][0]
            raise StepError(
                f"suite {suite.suite}: tasks.{task}: {name} of {len(wrong)} items of {subtask} is no number that can "
                f"be averaged ({score} for the first; at most {LARGEST:g} either way)"
            )


def _base_step(job: RunJob | BaseJob) -> Step:
    return result_step(f"base-{job.suite.suite}", job.recipe, job.suite_digest, job.model.digest, None)


def _found(store: Store, step: Step) -> Artifact:
    found = store.find(step.kind, step.key, step.name)
    if found is None:
        raise StepError(
            f"{step.kind} {step.name} was published, but is not in {store.location}: is somebody deleting files?"
        )
    return found


def _clear(path: Path) -> None:
    """Remove a folder of a run in progress, and its parent folder when that is then empty."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def _words(error: BaseException) -> str:
    """Return one sentence that says what went wrong, with file and line when it was in the user's own code."""
    if isinstance(error, HarnessError):
        return str(error)
    message = trusted.said(error)
    if isinstance(error, MemoryError) or "memory" in message.lower():
        return _memory(message)
    message = storage_problem(error) or message
    place = trusted.own_line(error)
    return f"{place}: {message}" if place else message


def _memory(message: str) -> str:
    """Add how much memory is in use to an out-of-memory message; a GPU's message says so itself."""
    if "CUDA" in message:
        return message
    message = message.removesuffix(": ") + ("" if "out of memory" in message.lower() else " (out of memory)")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return message
    facts = {line.split(":")[0]: int(line.split()[1]) / 2**20 for line in lines if line.split()[1].isdigit()}
    return f"{message}; {facts['MemTotal'] - facts['MemAvailable']:.1f} of {facts['MemTotal']:.1f} GiB in use"


def git_commit() -> str:
    """Return the commit of the folder the harness is run in, or nothing outside a checkout."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def main() -> None:
    """Take jobs from standard input until it closes."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print must not be mistaken for an event
    worker = Worker(out)
    jobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            if line == STOP:
                worker.stopping.set()
                with worker.keeping:  # no result is being written now, so none is lost
                    os._exit(0)
            jobs.put(line)
        if busy.is_set():
            os._exit(3)  # the driver is gone: leave at once
        jobs.put(None)

    threading.Thread(target=listen, daemon=True).start()
    worker.say(event="ready")
    with contextlib.suppress(KeyboardInterrupt):  # training was stopped, and has written a checkpoint
        while (line := jobs.get()) is not None:
            busy.set()
            worker.do(read_job(line))
            if worker.lost:
                os._exit(LOST_CODE)
            busy.clear()


if __name__ == "__main__":
    main()
