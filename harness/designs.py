"""Designs: from a pattern, such as "leave each source out once", to the arms it stands for."""

from __future__ import annotations

from pydantic import ValidationError

from harness.errors import RequestError
from harness.spec import NAME, Study, Variant
from harness.spec.base import NO_NAME


def expand(study: Study) -> Study:
    """Return the study with the arms of its designs after the written ones; the designs stay as they are written.

    Every arm made says what it tests. An arm that would be the baseline itself (a ladder's rung of the baseline's
    size, a prior that is the baseline's mix) is left out, and so is one that the study has already under another
    name, with the same subject: the runs would be the same twice, and pass for agreement between arms. Expanding
    twice is expanding once.

    Raises:
        RequestError: A design does not fit the study; the message starts with the field, such as
            ``designs[0].sources[1]``.
    """
    for index in range(len(study.designs)):
        place = f"designs[{index}]"
        present = dict(study.arms)
        for name, arm in arms(study, index).items():
            if present.setdefault(name, arm) != arm:
                taken = "and the study has another arm of that name; rename that one"
                raise RequestError(f'{place}: it makes an arm "{name}", {taken}')
        try:
            study = Study.model_validate(dict(study) | {"arms": present})
        except ValidationError as error:
            text = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise RequestError(f"{place}: {text}") from error
    return study


def arms(study: Study, index: int) -> dict[str, Variant]:
    """Return the arms of one design of a study, by name.

    Args:
        study: The study; arms it has already are not made a second time under another name.
        index: The design's position in ``study.designs``.

    Raises:
        RequestError: The design does not fit the study.
    """
    design, place = study.designs[index], f"designs[{index}]"
    found: dict[str, Variant] = {}
    for name, arm in design.arms(study, index):
        if not NAME.match(name):
            raise RequestError(f"{place}: an arm that it makes: {NO_NAME.format(name)}")
        if found.get(name, arm) != arm:
            raise RequestError(f'{place}: two different arms would be named "{name}"')
        elsewhere = arm in study.arms.values() and name not in study.arms
        if design.balanced or not elsewhere:
            found[name] = arm
    return found
