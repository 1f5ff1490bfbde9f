"""Every kind of study, planted once, and its report."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from harness.report import Report
from harness.study.plan import Plan
from tests.report import studies

Plans = Callable[[str], Plan]
Reports = Callable[[str], Report]


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Plans:
    """From a kind of study (``studies.STATES``) to its plan."""
    return cache(lambda kind: studies.STATES[kind](tmp_path_factory.mktemp(kind), tiny))


@pytest.fixture(scope="session")
def reports(plans: Plans) -> Reports:
    """From a kind of study to its report."""
    return cache(lambda kind: studies.gathered(plans(kind)))
