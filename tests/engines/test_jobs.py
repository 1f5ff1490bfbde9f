"""What a driver tells a worker: each job is read as what it was, and is refused when it is not whole."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.engines.jobs import Job, ModelJob, PerplexityJob, SuiteJob, read_job
from harness.models import Model
from tests.jobs import MODEL, RECIPE, SUITE, base_job, broken, run_job

EVALUATION = {"model", "suite", "suite_key", "suite_digest", "recipe"}
FIELDS: list[tuple[Job, set[str]]] = [
    (run_job("r", block="seed 1", hardware="big"), EVALUATION | {"seed", "tokens_key", "adapter", "system_metrics"}),
    (base_job("b", Path("s")), EVALUATION),
    (broken(Path("s"), "m"), {"model"}),
    (ModelJob(id="m", label="m", store="s", model=Model("a", "embedded", "d", None, True)), {"model"}),
    (SuiteJob(id="s", label="s", store="s", suite=SUITE, folder=Path("f")), {"suite", "folder"}),
    (PerplexityJob(id="p", label="p", store="s", model=MODEL, folder=Path("f")), {"model", "folder"}),
]


@pytest.mark.parametrize(("job", "fields"), FIELDS)
def test_a_job_is_one_flat_line_and_is_read_as_it_was(job: Job, fields: set[str]) -> None:
    line = job.model_dump_json()
    assert read_job(line) == job
    assert "\n" not in line
    said = json.loads(line)
    assert set(said) == {"job", "id", "label", "store", "block", "hardware"} | fields
    for name in fields & {"suite", "recipe"}:
        assert said[name] == {"suite": SUITE, "recipe": RECIPE}[name].identity()  # the form that keys are made of
    if "model" in said:
        assert set(said["model"]) == {"name", "kind", "digest", "folder", "trust_remote_code"}
        assert all(isinstance(said["model"][name], str) for name in ("name", "kind", "digest", "folder"))


@pytest.mark.parametrize(("job", "fields"), FIELDS)
def test_a_job_that_is_not_whole_or_says_too_much_is_refused(job: Job, fields: set[str]) -> None:
    said = json.loads(job.model_dump_json())
    for name in fields - {"system_metrics"} | {"id", "store", "job"}:
        with pytest.raises(ValidationError, match=name):
            read_job(json.dumps({other: value for other, value in said.items() if other != name}))
    foreign = {"folder": "f"} if "folder" not in fields else {"seed": 1}
    with pytest.raises(ValidationError, match="Extra inputs"):
        read_job(json.dumps(said | foreign))
    with pytest.raises(ValidationError, match="nothing"):
        read_job(json.dumps(said | {"job": "nothing"}))
