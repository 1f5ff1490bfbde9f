"""A rule that was changed after results existed is said before any verdict, wherever a study is looked at."""

from __future__ import annotations

import re
from pathlib import Path

import mlflow
import pytest

import harness
from harness.session.answer import Kind
from tests import planted

SAID = "the rule was changed after results existed"
# MLflow uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def test_everywhere(tmp_path: Path, tiny: Path, empty_uri: str) -> None:
    study = planted.folder_with(tmp_path, tiny)
    planted.plant(study)
    study.write_text(study.read_text().replace("smallest_effect: 0.05", "smallest_effect: 0.9"))
    found = harness.open_study(study, store=tmp_path / ".harness").answer()
    verdict = found.verdicts.decisions[0].verdict

    assert found.verdicts.trust[0].text.startswith(SAID)  # JSON
    assert found.trust["text"][0].startswith(SAID)
    table = str(found)
    assert table.startswith(f"TRUST     {SAID}")
    assert table.index(SAID) < table.index(verdict)

    kinds: tuple[Kind, ...] = ("html", "md")
    for kind in kinds:
        page = found.text(kind)
        first = re.search(rf"{verdict}|{SAID}", page.split("<body>")[-1])
        assert first is not None
        assert first[0] == SAID, kind
    assert found._repr_html_().index(SAID) < found._repr_html_().index(f"{verdict}</span>")

    found.sync(empty_uri)
    client = mlflow.MlflowClient(tracking_uri=empty_uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`harness.level` = 'study'")
    note = runs[0].data.tags["mlflow.note.content"]
    assert note.index(SAID) < note.index(verdict)
    assert runs[0].data.tags["harness.trust"] == "failed"
    assert "registered" in runs[0].data.tags["harness.trust_failed"].split("; ")
