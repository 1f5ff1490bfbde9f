"""The command line: fast, plain without a terminal, and explained."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from harness.cli import app
from tests import planted
from tests.command import ROOT, argv, environment, harness

HEAVY = ("torch", "transformers", "trl", "peft", "lm_eval", "mlflow", "datasets", "accelerate")
QUICKSTART = ROOT / "experiments" / "quickstart.yaml"


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


def ratio(enough: float, imports: str, *arguments: str, cwd: Path, **extra: str) -> float:
    """Return how many times as long as importing libraries a command takes, the fastest of up to ten calls of each.

    Side by side, as a busy or slow machine is slow for both.
    """
    # Measuring coverage would be measured too.
    env = {name: value for name, value in environment(**extra).items() if not name.startswith("COV")}
    calls = (argv(*arguments), [sys.executable, "-c", f"import {imports}"])
    best = [float("inf")] * 2
    for _ in range(10):
        for at, call in enumerate(calls):
            started = time.perf_counter()
            subprocess.run(call, cwd=cwd, capture_output=True, env=env, check=True)
            best[at] = min(best[at], time.perf_counter() - started)
        if best[0] < enough * best[1]:
            break
    return best[0] / best[1]


@pytest.mark.slow
@pytest.mark.alone
def test_help_is_instant(tmp_path: Path) -> None:
    assert ratio(5, "typer, rich.console", "--help", cwd=tmp_path) < 5  # 0.2 s where that takes 0.08


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.alone
def test_plan_of_the_quickstart_is_fast_and_light(tmp_path: Path, smollm2: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "model").symlink_to(smollm2.parent)  # ready already
    store = {"HARNESS_STORE": str(tmp_path / "store")}
    first = harness("plan", QUICKSTART, "--json", cwd=tmp_path, **store)
    assert first.code == 0, first.err
    assert len(first.json["runs"]) == 18
    assert imported("plan", str(QUICKSTART), cwd=tmp_path, **store) == []
    libraries = "numpy, polars, pydantic, rich.console, scipy.stats, typer, yaml"
    assert ratio(1.5, libraries, "plan", str(QUICKSTART), cwd=tmp_path, **store) < 1.5  # 1.0 s where they take 0.9


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
        "init", "plan", "run", "status", "compare", "decide", "grow", "report", "power", "stats", "mixtures", "sync",
        "ui", "doctor", "store", "data", "schema",
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


@pytest.mark.parametrize(
    "command",
    ["plan study.yaml", "status study.yaml", "compare study.yaml", "decide study.yaml", "grow study.yaml --budget 5",
     "run study.yaml --no-track", "data show study.yaml:verified",
     "data show study.yaml:verified --dropped-by verify", "store ls", "store verify", "store gc --dry-run"],
)  # fmt: skip
def test_without_a_terminal_output_is_plain(cli: Any, command: str) -> None:
    done = cli(*command.split())
    assert done.code == 0, done.err
    assert done.out.strip()
    assert "\x1b" not in done.out + done.err
    assert "[bold" not in done.out
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", ["plan", "status", "compare", "decide", "grow --budget 5", "run --no-track"])
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
    status = cli("status", "study.yaml")
    assert "12 of 12 runs done" in status.out
    assert "This study sees effects of" in status.out
    told = cli("status", "study.yaml", "--json").json
    assert told["verdicts"] == {"verify(scraped)": "ADOPT", "sums": "GROW", "scraped": "CUT"}
    assert "verify(scraped) ADOPT; sums GROW; scraped CUT" in " ".join(status.out.split())
    assert (told["withheld"], told["problem"]) == ("", "")
    assert told["advice"] == cli("decide", "study.yaml", "--json").json["advice"]


def test_a_study_that_is_not_done_is_not_decided_by_its_status(cli: Any, tmp_path: Path, tiny: Path) -> None:
    """Who looks before all is done, where the study declares no looks, must not find a verdict."""
    made = planted.plant(planted.folder_with(tmp_path, tiny))
    planted.forget(made, "sums-8", 2)
    status = cli("status", "study.yaml", "--json", cwd=tmp_path)
    assert (status.code, status.json["verdicts"], status.json["advice"]) == (0, {}, "")


def test_a_damaged_result_does_not_hide_the_states(cli: Any, tmp_path: Path, tiny: Path) -> None:
    made = planted.plant(planted.folder_with(tmp_path, tiny))
    for artifact in made.store.artifacts("result"):
        (artifact.folder / "items.parquet").write_bytes(b"damaged")
    shown = cli("status", "study.yaml", cwd=tmp_path)
    assert shown.code == 0
    assert "12 of 12 runs done" in shown.out
    assert "Not decided: " in shown.out
    told = cli("status", "study.yaml", "--json", cwd=tmp_path).json
    assert (told["verdicts"], {run["state"] for run in told["runs"]}) == ({}, {"done"})
    assert told["problem"] in " ".join(shown.out.split())


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
