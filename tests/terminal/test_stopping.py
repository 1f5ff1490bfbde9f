"""A signal ends a verb in one sentence, wherever it arrives."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

import pytest

from harness.errors import RequestError, StepError
from harness.terminal.stopping import interruptible


def plainly(number: int) -> None:
    os.kill(os.getpid(), number)


def swallowed(error: type[Exception]) -> Callable[[int], None]:
    """As in a library that calls Python back, ignores what comes out, and fails at what it did not get."""

    def strike(number: int) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        raise error("'<unprintable str object>' is not a Polars data type")

    return strike


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("strike", [plainly, *map(swallowed, (TypeError, RequestError, StepError, OSError))])
def test_a_signal_ends_a_verb_with_the_command_that_goes_on(
    capsys: pytest.CaptureFixture[str], number: int, code: int, strike: Callable[[int], None]
) -> None:
    @interruptible(lambda: "harness run study.yaml")
    def verb() -> None:
        strike(number)

    with pytest.raises(SystemExit) as ended:
        verb()
    assert ended.value.code == code
    assert capsys.readouterr().err == "Stopped. All that was finished is kept. Go on: harness run study.yaml\n"


def test_an_error_without_a_signal_is_an_error() -> None:
    @interruptible(lambda: "harness run study.yaml")
    def verb() -> None:
        raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        verb()
