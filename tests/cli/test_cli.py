"""The command line: fast, plain without a terminal, and deaf to what data would have it print."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from harness.__main__ import main
from harness.cli import app
from harness.cli.live import Progress
from harness.engines.jobs import Event, Job
from harness.store import Store
from tests import planted
from tests.command import ROOT, Called, argv, environment, harness

HEAVY = ("torch", "transformers", "trl", "peft", "lm_eval", "mlflow", "datasets", "accelerate")
QUICKSTART = ROOT / "experiments" / "quickstart.yaml"
EVIL = "[red]x[/red] :smile: \x1b[31mred\x1b[0m \x1b]0;title\x07 [bold \\ 漢字🙂"


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine may ask for colours or for another width."""
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "COLUMNS", "TTY_COMPATIBLE", "PY_COLORS", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The folder of a finished study with planted scores."""
    study = planted.folder_with(tmp_path_factory.mktemp("finished"), tiny)
    planted.plant(study)
    return study.parent


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], finished: Path) -> Any:
    """Calls ``harness`` in this process; in the folder of the finished study unless told otherwise."""

    def call(*arguments: str | Path, cwd: Path = finished) -> Called:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Called(int(ended.value.code or 0), out, err)

    return call


# ---------------------------------------------------------------------------------------------------------- light


def imported(*arguments: str, cwd: Path, **extra: str) -> list[str]:
    """Return which heavy libraries a command has imported by its end."""
    script = (
        f"import sys\nsys.argv = ['harness', *{list(arguments)!r}]\nfrom harness.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('HEAVY', *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment(**extra), check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.strip().splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "command",
    ["--help", "run --help", "plan study.yaml", "status study.yaml", "store ls", "data show study.yaml:verified"],
)
def test_looking_imports_nothing_heavy(finished: Path, command: str) -> None:
    assert imported(*command.split(), cwd=finished) == []


def fastest(enough: float, *arguments: str, cwd: Path, **extra: str) -> float:
    """Return the seconds of the fastest of up to ten calls: the machine may be busy, the command may not be slow."""
    best = float("inf")
    # Measuring coverage would be measured too.
    env = {name: value for name, value in environment(**extra).items() if not name.startswith("COV")}
    for _ in range(10):
        started = time.perf_counter()
        subprocess.run(argv(*arguments), cwd=cwd, capture_output=True, env=env, check=True)
        best = min(best, time.perf_counter() - started)
        if best < enough:
            break
    return best


@pytest.mark.slow
def test_help_is_instant(tmp_path: Path) -> None:
    assert fastest(0.5, "--help", cwd=tmp_path) < 0.5


@pytest.mark.acceptance
@pytest.mark.slow
def test_plan_of_the_quickstart_is_fast_and_light(tmp_path: Path, smollm2: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "model").symlink_to(smollm2.parent)  # ready already
    store = {"HARNESS_STORE": str(tmp_path / "store")}
    first = harness("plan", QUICKSTART, "--json", cwd=tmp_path, **store)
    assert first.code == 0, first.err
    assert len(first.json["runs"]) == 18
    assert imported("plan", str(QUICKSTART), cwd=tmp_path, **store) == []
    assert fastest(1.5, "plan", str(QUICKSTART), cwd=tmp_path, **store) < 1.5


# ----------------------------------------------------------------------------------------------------------- help


def commands() -> Iterator[tuple[list[str], Any]]:
    """Give every verb with its words."""

    def below(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield words, command
        for name, one in (inner or {}).items():
            yield from below([*words, name], one)

    return below([], typer.main.get_command(app))


def test_help_names_every_verb_and_every_option() -> None:
    top = CliRunner().invoke(app, ["--help"]).output
    found = list(commands())
    assert {words[0] for words, _ in found} == {
        "plan", "run", "status", "compare", "decide", "power", "stats", "sync", "ui", "doctor", "store", "data",
    }  # fmt: skip
    for words, command in found:
        assert words[0] in top
        shown = CliRunner().invoke(app, [*words, "--help"])
        assert shown.exit_code == 0
        assert "\x1b" not in shown.output
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert all(option in shown.output for option in (*parameter.opts, *parameter.secondary_opts)), words
                assert parameter.help, f"{' '.join(words)}: {parameter.name} is not explained"
            else:
                assert parameter.metavar in shown.output
    for needed in ("HARNESS_STORE", "MLFLOW_TRACKING_URI", "HF_HUB_OFFLINE", "Exit codes"):
        assert needed in top


def test_no_command_shows_the_help(cli: Any) -> None:
    shown = cli()
    assert "Typical order" in shown.out + shown.err


# ---------------------------------------------------------------------------------------------------------- plain


@pytest.mark.parametrize(
    "command",
    ["plan study.yaml", "status study.yaml", "compare study.yaml", "decide study.yaml", "run study.yaml --no-track",
     "data show study.yaml:verified", "data show study.yaml:verified --dropped-by verify", "store ls", "store verify",
     "store gc --dry-run"],
)  # fmt: skip
def test_without_a_terminal_output_is_plain(cli: Any, command: str) -> None:
    done = cli(*command.split())
    assert done.code == 0, done.err
    assert done.out.strip()
    assert "\x1b" not in done.out + done.err
    assert "[bold" not in done.out
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", ["plan", "status", "compare", "decide", "run --no-track"])
def test_json_is_all_that_is_printed(cli: Any, command: str) -> None:
    verb, *options = command.split()
    done = cli(verb, "study.yaml", "--json", *options)
    assert done.code == 0, done.err
    assert done.json["study"] == "tiny"


def test_tables_say_what_matters(cli: Any) -> None:
    plan = cli("plan", "study.yaml").out
    for words in ("verify(scraped)", "sums-16", "2 done", "Match", "Decontamination", "Power", "Cost", "nothing to do"):
        assert words in plan
    decided = cli("decide", "study.yaml").out
    assert re.search(r"verify\(scraped\)\s+ADOPT\s+\+0\.\d\d \[\+0\.\d\d, \+0\.\d\d\]", decided)
    assert "TRUST" in decided
    compared = cli("compare", "study.yaml").out
    assert "sums/exact_match · the study's declared metric · baseline" in compared
    assert "untrained model 0.000, majority answer 0.050" in compared
    assert "aa (control)" in compared
    assert "12 of 12 runs done" in cli("status", "study.yaml").out


def test_waived_rules_are_in_every_table(cli: Any, tmp_path: Path, tiny: Path) -> None:
    study = planted.folder_with(tmp_path, tiny, planted.TINY_STUDY + "waive: ['device: [red]why[/red]']\n")
    planted.plant(study)
    for command in ("plan", "compare", "decide"):
        assert "device: [red]why[/red]" in cli(command, study, cwd=tmp_path).out


@pytest.mark.parametrize("verb", ["compare", "decide"])
def test_a_study_with_missing_runs_says_so(cli: Any, tmp_path: Path, tiny: Path, verb: str) -> None:
    study = planted.folder_with(tmp_path, tiny)
    planted.plan(study)
    nothing = cli(verb, "study.yaml", cwd=tmp_path)
    assert (nothing.code, nothing.out) == (1, "")
    assert nothing.err.startswith(f"nothing to {verb} yet: 0 of 12 runs are done (12 to do). Run: harness run study")
    planted.forget(planted.plant(study), "sums-8", 2)
    partly = cli(verb, "study.yaml", "--json", cwd=tmp_path)
    assert partly.code == 1
    assert partly.json["study"] == "tiny"
    assert partly.err == "11 of 12 runs are done (1 to do)\n"


# ------------------------------------------------------------------------------------------------------- the data

EVIL_STUDY = """\
study: evil
question: "Does [blink]this[/blink] style anything?"
model: model
recipe: {lora: {r: 4, alpha: 8}, learning_rate: 1.0e-2, batch: 4, steps: 4, max_length: 256}
suite:
  suite: held-out
  tasks:
    sums: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, items: 24, seed: 3,
           question: "Q: {expression} =\\nA:"}
sources:
  mine: {path: rows.jsonl}
baseline: {mix: {mine: all}}
arms:
  short: {tests: length, operations: [{filter: {max_chars: 200}}]}
controls: []
seeds: 1
decide: {metric: sums/exact_match, smallest_effect: 0.05}
"""


@pytest.fixture
def evil(tmp_path: Path, tiny: Path) -> Path:
    """A study whose rows would style and forge the output."""
    rows = [{"prompt": f"{EVIL} {i}:", "completion": f" {EVIL} {'long ' * 60 * (i % 2)}"} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    planted.plan(planted.folder_with(tmp_path, tiny, EVIL_STUDY))
    return tmp_path


def test_rows_cannot_style_or_forge_the_output(cli: Any, evil: Path) -> None:
    shown = cli("data", "show", "study.yaml:baseline", "-n", "2", cwd=evil)
    assert shown.code == 0, shown.err
    assert "\x1b" not in shown.out
    assert "\x07" not in shown.out
    spelled = EVIL.replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    assert shown.out.count(f"{spelled} ") == 4  # prompt and completion of two rows, as they are
    assert "2 of 6 rows; the loss counts the green part" in shown.out
    assert "Does [blink]this[/blink] style anything?" in cli("plan", "study.yaml", cwd=evil).out
    dropped = cli("data", "show", "study.yaml:short", "--dropped-by", "filter", cwd=evil)
    assert dropped.out.count("dropped by filter(max_chars=200)") == 3


def test_json_holds_rows_as_they_are(cli: Any, evil: Path) -> None:
    shown = cli("data", "show", "study.yaml:baseline", "--json", "-n", "6", cwd=evil)
    assert "\x1b" not in shown.out  # escaped by JSON
    for row in shown.json:
        assert row["context"].startswith(EVIL)
        assert row["learned"].startswith(f" {EVIL}")
        assert row["place"].startswith("rows.jsonl:")


def test_a_terminal_gets_colours_and_rows_still_no_say(cli: Any, evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = cli("data", "show", "study.yaml:baseline", "-n", "1", cwd=evil).out
    assert "\x1b[1;32m" in shown  # ours: what the loss counts
    assert "\x1b[31m" not in shown
    assert "\x1b]0;" not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("study.yaml", "expected STUDY:VARIANT"),
        ("study.yaml:verifed", 'no variant "verifed". Did you mean "verified"?'),
        ("study.yaml:verified --seed 9", "--seed: 9 is not a seed of the study (1, 2)"),
        ("study.yaml:verified --source sums", '--source: verified has no rows of "sums"'),
        ("study.yaml:verified --dropped-by verfy", 'Did you mean "verify"?'),
        ("absent.yaml:verified", "absent.yaml: no such study file"),
    ],
)
def test_data_that_is_not_there_is_a_wrong_request(cli: Any, arguments: str, words: str) -> None:
    refused = cli("data", "show", *arguments.split())
    assert refused.code == 2
    assert words in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""


def test_rows_of_a_model_that_is_not_ready(cli: Any, evil: Path) -> None:
    text = (evil / "study.yaml").read_text().replace("model: model", f"model: no/model@{'0' * 40}")
    (evil / "study.yaml").write_text(text)
    refused = cli("data", "show", "study.yaml:baseline", cwd=evil)
    assert refused.code == 1
    assert "is not ready yet" in refused.err
    assert "-" in cli("plan", "study.yaml", cwd=evil).out  # tokens are not known


# -------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("plan study.yaml --store study.yaml", "--store: study.yaml is a file, expected a folder"),
        ("plan study.yaml --device tpu", '--device: "tpu" is no device'),
        ("plan stdy.yaml", 'Did you mean "study.yaml"?'),
        ("plan model", "model: a folder, expected a study file"),
        ("status model/config.json", "a study is a .yaml file"),
    ],
)
def test_wrong_requests_end_with_one_sentence_and_two(cli: Any, arguments: str, words: str) -> None:
    refused = cli(*arguments.split())
    assert refused.code == 2
    assert words in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize("arguments", ["plam study.yaml", "plan", "plan study.yaml --workers 0", "run --nonsense"])
def test_wrong_command_lines_end_with_two(cli: Any, arguments: str) -> None:
    refused = cli(*arguments.split())
    assert refused.code == 2
    assert "Traceback" not in refused.err


def test_debug_shows_the_traceback(finished: Path) -> None:
    plain = harness("plan", "absent.yaml", cwd=finished)
    debug = harness("plan", "absent.yaml", "--debug", cwd=finished)
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert "RequestError" in debug.err


def test_what_nobody_foresaw_is_one_sentence_too(cli: Any, tmp_path: Path, tiny: Path) -> None:
    planted.plan(planted.folder_with(tmp_path, tiny))
    record = next((tmp_path / ".harness" / "source").glob("*/record.json"))
    record.unlink()
    record.mkdir()
    failed = cli("store", "ls", cwd=tmp_path)
    assert failed.code == 1
    assert "unexpected IsADirectoryError" in failed.err
    assert "--debug" in failed.err


# ------------------------------------------------------------------------------------------------ store and MLflow


def test_store_verify_names_damage_and_studies(cli: Any, tmp_path: Path, tiny: Path) -> None:
    made = planted.plant(planted.folder_with(tmp_path, tiny))
    assert "Everything is as it was written." in cli("store", "verify", cwd=tmp_path).out
    folder = next(a.folder for a in made.store.artifacts("tokens"))
    (folder / "tokens.arrow").write_bytes(b"damaged")
    damaged = cli("store", "verify", cwd=tmp_path)
    assert damaged.code == 1
    assert f"tokens/{folder.name}: tokens.arrow has 7 bytes" in damaged.out
    assert "Studies affected: tiny." in damaged.out


def test_store_gc_says_what_goes(cli: Any, tmp_path: Path, tiny: Path) -> None:
    made = planted.plant(planted.folder_with(tmp_path, tiny))
    for artifact in made.store.artifacts("study"):
        artifact.folder.rename(tmp_path / "set-aside")
    dry = cli("store", "gc", "--dry-run", cwd=tmp_path).out
    assert "would be removed" in dry
    assert len(made.store.artifacts()) == dry.count("\n") - 1
    assert "removed" in cli("store", "gc", cwd=tmp_path).out
    assert made.store.artifacts() == []


def test_store_ls_adds_up(cli: Any, finished: Path) -> None:
    listed = cli("store", "ls").out
    artifacts = Store(finished / ".harness").artifacts()
    assert f"{len(artifacts)} artifacts, " in listed
    assert all(artifact.record.key in listed for artifact in artifacts)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow with SQLAlchemy 2.1
def test_sync_writes_once(cli: Any, tmp_path: Path, tiny: Path) -> None:
    planted.plant(planted.folder_with(tmp_path, tiny))
    first = cli("sync", "study.yaml", "--uri", f"sqlite:///{tmp_path}/mine.db", cwd=tmp_path)
    assert first.code == 0, first.err
    assert f"tiny at sqlite:///{tmp_path}/mine.db: 20 runs created, 0 updated, 0 unchanged" in first.out
    again = cli("sync", "study.yaml", "--json", "--uri", f"sqlite:///{tmp_path}/mine.db", cwd=tmp_path).json
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 20)


def test_ui_of_a_server_is_a_wrong_request(cli: Any) -> None:
    refused = cli("ui", "--uri", "http://me:secret@localhost:5000")
    assert refused.code == 2
    assert "open it in a browser" in refused.err
    assert "secret" not in refused.err


@pytest.mark.slow
def test_ui_opens_mlflow_until_interrupted(tmp_path: Path, tiny: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(
            argv("ui", "--port", str(port)), cwd=tmp_path, env=environment(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        started = time.monotonic()
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert answer.status == 200
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert child.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() - started < 120
                time.sleep(0.2)
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(timeout=30) == 0
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    log_text = (tmp_path / "log").read_text()
    assert f"MLflow on http://127.0.0.1:{port}" in log_text


# --------------------------------------------------------------------------------------------------------- doctor


def test_doctor_says_what_to_change(cli: Any) -> None:
    checked = cli("doctor", "--json")
    assert checked.json["ok"] == all(check["ok"] for check in checked.json["checks"])
    assert checked.code == (0 if checked.json["ok"] else 1)
    names = [check["check"] for check in checked.json["checks"]]
    assert {"python", "torch", "mlflow", "memory", "disk", "slots", "model"} <= set(names)
    assert len(set(names)) == len(names)
    table = cli("doctor")
    assert table.code == checked.code
    assert all(name in table.out for name in names)


@pytest.mark.acceptance
@pytest.mark.slow
def test_doctor_makes_the_embedded_model_ready(cli: Any, smollm2: Path) -> None:
    checked = cli("doctor", "--json", "--prepare", "--store", smollm2.parent.parent)
    model = next(check for check in checked.json["checks"] if check["check"] == "model")
    assert model["ok"]
    assert str(smollm2) in model["text"]


# ----------------------------------------------------------------------------------------------------------- live

JOBS = [Job(job="run", id=f"run-{i}", label=f"verified/seed {i}", store="") for i in range(3)]
EVENTS = [
    Event(event="stage", id="run-0", stage="training"),
    Event(event="step", id="run-0", done=3, total=40, loss=1.5),
    Event(event="items", id="run-0", done=96, total=192),
    Event(event="done", id="run-0"),
]


def test_progress_without_a_terminal_is_a_line_per_run(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(total=3, cached=7, slots=2) as progress:
        for event in EVENTS:
            progress.hear(0, JOBS[0], event)
        progress.hear(1, JOBS[1], Event(event="failed", id="run-1", stage="training", message="out of memory"))
        progress.hear(0, JOBS[2], Event(event="done", id="run-2"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "7 done before, 3 to do"
    assert lines[1].startswith("[1/3] verified/seed 0: done in 0 s · about ")
    assert lines[2].startswith("[2/3] verified/seed 1: FAILED while training: out of memory · about ")
    assert lines[3] == "[3/3] verified/seed 2: done in 0 s · all done"
    assert (progress.finished, progress.failed) == (2, 1)


def test_progress_in_a_terminal_is_a_live_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with Progress(total=3, cached=0, slots=2) as progress:
        for event in EVENTS[:2]:
            progress.hear(0, JOBS[0], event)
    shown = capsys.readouterr().err
    for words in ("Slot", "verified/seed 0", "training", "3/40", "1.500", "0/3"):
        assert words in shown
    with Progress(total=3, cached=0, slots=2) as progress:
        evil = Event(event="failed", id="run-1", stage="training", message="[red]no\x1b[5m")
        progress.hear(1, JOBS[1], evil)
    shown = capsys.readouterr().err
    assert "FAILED while training: [red]no\\x1b[5m" in shown


def test_a_closed_pipe_is_no_accident(finished: Path) -> None:
    """``harness store ls | head -1``: whoever stops reading gets no traceback."""
    child = subprocess.Popen(
        argv("store", "ls"), cwd=finished, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert isinstance(child.stdout, io.BufferedReader)
    child.stdout.close()
    assert child.stderr is not None
    err = child.stderr.read().decode()
    child.stderr.close()
    child.wait()
    assert "Traceback" not in err
