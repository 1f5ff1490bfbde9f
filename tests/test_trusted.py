"""Code of the user's own that ends the program, prints, or raises what is no Exception: a failure with its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import trusted
from harness.data.operations import Context, apply_all
from harness.data.rows import table
from harness.errors import RequestError
from harness.loading import load_study
from harness.spec import Filter
from tests.command import argv, environment, harness
from tests.conftest import TINY_STUDY

# What code may do instead of its work -> what is said of it.
ENDS = {
    "import sys; sys.exit(0)": "it ends the program (sys.exit(0))",
    "import sys; sys.exit()": "it ends the program (sys.exit())",
    "import sys; sys.exit('all well')": "it ends the program (sys.exit('all well'))",
    "raise SystemExit": "it ends the program (sys.exit())",
    "import os; os._exit(0)": "it ends the program (sys.exit(0))",
    "raise GeneratorExit('enough')": "GeneratorExit: enough",
    "raise BaseException": "BaseException",
    "raise type('Own', (BaseException,), {'__str__': lambda self: 1 / 0})": "Own",
    "import asyncio; raise asyncio.CancelledError": "CancelledError",
    "raise StopIteration(3)": "StopIteration: 3",
    "raise MemoryError": "MemoryError",
    "def f(): return f()\n    f()": "RecursionError: maximum recursion depth exceeded",
}


@pytest.mark.parametrize("line", ENDS)
@pytest.mark.parametrize("where", ["module", "function"])
def test_a_function_that_ends_the_program_is_refused(tmp_path: Path, line: str, where: str) -> None:
    body = line.replace("\n    ", "\n") if where == "module" else f"pass\n\ndef keep(row):\n    {line}\n    return True"
    (tmp_path / "mine.py").write_text(f"# mine\n{body}\n")
    number = {"module": 2, "function": 5}[where]
    rows = table({"source": "s", "text": ["a"]}, 1)
    with pytest.raises(RequestError) as caught:
        apply_all(rows, (Filter(function="mine:keep"),), Context(place="arms.x", seed=1, folder=tmp_path))
    assert ENDS[line] in str(caught.value)
    if "def f()" not in line:
        assert f"{tmp_path / 'mine.py'}:{number}: " in str(caught.value)
    assert os._exit.__module__ == "posix"  # as it was


@pytest.mark.parametrize("line", ENDS)
@pytest.mark.parametrize("where", ["module", "function"])
def test_a_python_study_that_ends_the_program_is_refused(tmp_path: Path, line: str, where: str) -> None:
    code = line.replace("\n    ", "\n") if where == "module" else f"def study():\n    {line}\n"
    path = tmp_path / "study.py"
    path.write_text(code)
    with pytest.raises(RequestError) as caught:
        load_study(path)
    assert str(caught.value).startswith(f"{path}:")
    assert ENDS[line] in str(caught.value)


def test_ctrl_c_is_no_failure_of_the_users_code(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_study(tmp_path / "study.py")


def test_a_python_study_imports_what_lies_beside_it_and_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "pools_of_mine.py").write_text("NAME = 'mine'\n")
    (tmp_path / "queue.py").write_text("raise RuntimeError('run')\n")
    (tmp_path / "study.py").write_text(
        "import sys\nsys.modules.pop('queue')\nimport pools_of_mine, queue\nraise ValueError(pools_of_mine.NAME)\n"
    )
    before = list(sys.path)
    with pytest.raises(RequestError, match=r"study\.py:4: ValueError: mine"):
        load_study(tmp_path / "study.py")
    assert sys.path == before


def test_what_own_code_prints_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with trusted.apart():
        print("printed")
        sys.__stdout__.write("by its first name\n")  # type: ignore[union-attr]
        os.write(1, b"by number\n")
        subprocess.run(["echo", "by a program"], check=True)
    print("after")
    told = capfd.readouterr()
    assert told.out == "before\nafter\n"
    assert all(text in told.err for text in ("printed", "by its first name", "by number", "by a program"))


def test_own_lines_are_told_apart_from_those_of_libraries(tmp_path: Path) -> None:
    (tmp_path / "tasks" / "sums" / "deep").mkdir(parents=True)
    for file, shown in (
        (tmp_path / "tasks" / "sums" / "deep" / "code.py", "tasks.sums: deep/code.py:2"),
        (tmp_path / "transformers_modules" / "mine.py", f"{tmp_path / 'transformers_modules' / 'mine.py'}:2"),
        (tmp_path / "elsewhere.py", ""),
    ):
        text = "import json\njson.loads('{')\n"
        with pytest.raises(json.JSONDecodeError) as caught:
            exec(compile(text, str(file), "exec"), {})
        own = caught.value.with_traceback(caught.tb.tb_next)
        assert trusted.own_line(own) == shown
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    assert trusted.own_line(caught.value.with_traceback(caught.tb.tb_next)) == ""


# ---------------------------------------------------------------------------------------------------- as commands

LOUD = """\
import os
print("loud when read")

def keep(row):
    print("loud for each row")
    os.system("echo loud as a program")
    return True
"""


@pytest.mark.slow
def test_a_function_that_prints_leaves_json_as_it_is(study_folder: Path) -> None:
    (study_folder / "mine.py").write_text(LOUD)
    (study_folder / "study.yaml").write_text(
        TINY_STUDY.replace("operations: [verify]", "operations: [{filter: {function: 'mine:keep'}}]")
    )
    planned = harness("plan", "study.yaml", "--json", cwd=study_folder)
    assert planned.code == 0, planned.err
    assert planned.json["study"] == "tiny"
    assert planned.err.count("loud for each row") == 2 * 16  # each seed draws its own rows
    assert "loud when read" in planned.err
    assert "loud as a program" in planned.err


@pytest.mark.slow
@pytest.mark.parametrize("line", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise GeneratorExit"])
def test_run_does_not_succeed_where_a_function_ends_it(study_folder: Path, line: str) -> None:
    (study_folder / "mine.py").write_text(f"def keep(row):\n    {line}\n")
    (study_folder / "study.yaml").write_text(
        TINY_STUDY.replace("operations: [verify]", "operations: [{filter: {function: 'mine:keep'}}]")
    )
    ran = harness("run", "study.yaml", "--json", cwd=study_folder)
    assert ran.code == 2
    assert "mine.py:2: " in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


TASK = """\
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: !function code.question
doc_to_choice: ["yes", "no"]
doc_to_target: 0
process_results: !function code.score
metric_list: [{metric: acc}]
"""
CODE = """\
{top}
def question(doc):
    {question}
    return doc["text"]

def score(doc, results):
    {score}
    return {{"acc": 1.0}}
"""


def task_study(folder: Path, **lines: str) -> None:
    """Write a study whose suite is a task with code of its own."""
    (folder / "task").mkdir()
    (folder / "task" / "mine.yaml").write_text(TASK)
    items = "".join(json.dumps({"text": f"Is {number} even?"}) + "\n" for number in range(12))
    (folder / "task" / "items.jsonl").write_text(items)
    (folder / "task" / "code.py").write_text(CODE.format(**{"top": "", "question": "pass", "score": "pass"} | lines))
    start, end = TINY_STUDY.index("  tasks:\n"), TINY_STUDY.index("sources:")
    text = TINY_STUDY[:start] + "  tasks: {mine: {task: mine, path: task, metric: acc}}\n" + TINY_STUDY[end:]
    (folder / "study.yaml").write_text(text.replace("metric: sums/exact_match", "metric: mine/acc"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        ({"top": "import sys; sys.exit(0)"}, 2, "tasks.mine: code.py:1: it ends the program (sys.exit(0))"),
        ({"question": "raise SystemExit"}, 2, "tasks.mine: code.py:3: it ends the program (sys.exit())"),
        ({"question": "1 / 0"}, 2, "tasks.mine: code.py:3: ZeroDivisionError: division by zero"),
        ({"score": "raise GeneratorExit('x')"}, 1, "tasks.mine: code.py:7: GeneratorExit: x"),
    ],
)
def test_a_task_whose_code_ends_the_program_fails(
    study_folder: Path, lines: dict[str, str], code: int, said: str
) -> None:
    task_study(study_folder, **lines)
    ran = harness("run", "study.yaml", "--json", "--no-track", "--workers", "1", cwd=study_folder)
    assert ran.code == code, ran.err
    assert said in ran.err
    assert "Traceback" not in ran.err
    if code == 1:
        assert {one["message"] for one in ran.json["failed"]} == {said}


def test_arguments_of_a_study_that_prints_do_not_reach_standard_output(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text("print('loud')\n\ndef study():\n    print('loud')\n")
    done = subprocess.run(
        argv("plan", "study.py", "--json"), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("loud") == 2
