"""Prints how far a study with stages has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.decisions import Course
    from harness.spec import Study


def said(study: Study, course: Course) -> str:
    """Return the state of every question after the last look, in a line."""
    states = ", ".join(f"{subject} {state}" for subject, state in course.states.items())
    return f"Stage {course.looks} of {len(study.stages)} ({study.stages[course.looks - 1]} seeds): {states}"
