"""Prints how far a study with stages has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.formats import Places

if TYPE_CHECKING:
    from harness.decisions import Course
    from harness.records import Power
    from harness.spec import Study


def said(study: Study, course: Course) -> str:
    """Return the state of every question after the last look, in a line."""
    seeds = study.stages[course.looks - 1]
    places = Places.fitting(study.decide.smallest_effect, bounded=False)
    states = [_state(course, subject, places) for subject in course.states]
    return f"Stage {course.looks} of {len(study.stages)} ({seeds} seeds): {' · '.join(states)}"


def _state(course: Course, subject: str, places: Places) -> str:
    state = course.states[subject]
    if state == "open":
        return f"{subject} open ({places.signed(course.effects[subject])})" if subject in course.effects else subject
    if state == "settled":  # controls, clean items and the confirmation half are looked at in the end
        return f"{subject} settled ({course.verdicts[subject]} before the checks)"
    return f"{subject} {state}"


def promised(power: Power) -> str:
    """Return which effects the last look will see, from the noise at the first."""
    if power.seed_sd is None:
        return "The noise is not known yet"
    seen = f"effects of {power.minimum_effect:.2g} or more" if power.minimum_effect is not None else "next to nothing"
    return f"The last look ({power.seeds} seeds) sees {seen}, four times in five"
