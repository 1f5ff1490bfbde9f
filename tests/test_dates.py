"""A chat template that asks what day it is reads one date in training and in evaluation, whatever day it is."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.evaluation.scorer import Scorer
from harness.spec import DATE, Recipe
from harness.tokens import RowEncoder
from tests.tiny import CHAT_TEMPLATE, tiny_model

TEMPLATES = {
    "asks": "{{ 'Today: ' + strftime_now('%d %b %Y') + '\n' }}",
    "asks where it can": (
        "{% if strftime_now is defined %}{% set day = strftime_now('%Y-%m-%d') %}"
        "{% else %}{% set day = 'none' %}{% endif %}"
        "{{ 'Date ' + day + '\n' }}"
    ),
    "asks for the hour": "{{ strftime_now('%A %H:%M:%S %j') + '\n' }}",
}
TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
ROW = {"messages": json.dumps(TURNS), "source": "s", "row_id": "r"}


@pytest.fixture(scope="module", params=list(TEMPLATES))
def dated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_model(tmp_path_factory.mktemp("dated"))
    (folder / "chat_template.jinja").write_text(TEMPLATES[request.param] + CHAT_TEMPLATE)
    return folder


def trained(folder: Path, date: datetime.date) -> str:
    encoder = RowEncoder(folder, chat_template=True, max_length=500, date=date)
    return encoder.text(encoder.encode(ROW).input_ids)


@pytest.fixture(scope="module")
def model(dated: Path) -> tuple:
    return AutoModelForCausalLM.from_pretrained(dated), AutoTokenizer.from_pretrained(dated)


@given(date=st.dates(datetime.date(1970, 1, 1), datetime.date(2100, 1, 1)))
def test_training_and_evaluation_read_the_same_date(dated: Path, model: tuple, date: datetime.date) -> None:
    asked = Scorer(*model, 512, None, 1, date).apply_chat_template(TURNS[:1])
    assert trained(dated, date).startswith(asked)


def test_another_date_is_another_text(dated: Path, model: tuple) -> None:
    other = datetime.date(2031, 5, 17)
    assert trained(dated, DATE) != trained(dated, other)
    texts = {Scorer(*model, 512, None, 1, date).apply_chat_template(TURNS[:1]) for date in (DATE, other)}
    assert len(texts) == 2


def test_the_clock_goes_on_elsewhere(dated: Path, model: tuple) -> None:
    Scorer(*model, 512, None, 1, DATE).apply_chat_template(TURNS[:1])
    today = AutoTokenizer.from_pretrained(dated).apply_chat_template(TURNS[:1], tokenize=False)
    assert today != Scorer(*model, 512, None, 1, DATE).apply_chat_template(TURNS[:1])


@pytest.mark.parametrize("written", [5, 2024.5, True, "yesterday", "2024-13-01"])
def test_a_date_is_written_out(written: object) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({"steps": 1, "date": written})


def test_a_date_is_part_of_the_recipe() -> None:
    recipe = Recipe.model_validate({"steps": 1, "date": "2031-05-17"})
    assert recipe.identity()["date"] == "2031-05-17"
    assert Recipe(steps=1).identity()["date"] == DATE.isoformat()
