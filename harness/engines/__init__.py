"""Engines: who runs the steps of a plan, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from harness.data.pools import Pools
    from harness.engines.jobs import Event, Job
    from harness.engines.placement import Node
    from harness.engines.slots import Slots
    from harness.store import Store


class Engine(Protocol):
    """The methods of every engine. ``tests/engines/test_contract.py`` tests each engine against them.

    Attributes:
        slots: How many workers, and how they are set up.
        logs: Folder for what workers and their libraries print.
        commit: Git commit that goes into every record's provenance.
    """

    slots: Slots
    logs: Path
    commit: str

    @property
    def nodes(self) -> list[Node]:
        """The machines, and how many workers each has room for."""

    def choose_slots(self, jobs: Sequence[Job], tell: Callable[[str], None]) -> None:
        """Set ``slots`` to suit the jobs that are about to run, when the engine may choose them.

        Args:
            jobs: The jobs to run.
            tell: Called with a sentence when the choice takes a while.

        Raises:
            StepError: When the machine cannot be measured.
        """

    def run(
        self,
        jobs: Sequence[Job],
        listen: Callable[[int, Job, Event], None],
        more: Callable[[], Sequence[Job]] = tuple,
    ) -> list[tuple[Job, Event]]:
        """Run all jobs; return the failed ones, each with its last event. A failure does not stop other jobs.

        Args:
            jobs: Each is done once. Jobs of one block stay on one kind of hardware where there are several.
            listen: Called with slot, job and event for every event, in this thread.
            more: Called in this thread when all jobs so far have ended; returns the jobs that come next, none at the
                end. Workers stay alive meanwhile.

        Raises:
            StepError: When a worker cannot even start.
            KeyboardInterrupt: After the workers have ended; finished runs are kept.
        """

    def stop(self) -> None:
        """Make ``run`` start nothing new, let runs in progress leave a checkpoint, and raise KeyboardInterrupt.

        Called by a signal handler, so it may only set a flag or put something in a ``queue.SimpleQueue``.
        """

    def call(self, job: Job) -> dict[str, Any]:
        """Run one job in a worker of its own and return its result.

        Raises:
            StepError: With the worker's message when the job failed.
        """

    def pools(self, store: Store, tell: Callable[[str], None] = lambda text: None) -> Pools:
        """Return the object that makes pools from sources, and training sets from pools; it may work in the store.

        It calls ``tell`` with the progress of long work.
        """
