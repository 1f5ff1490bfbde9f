"""What every objective says about itself: what it learns of a row, and by which trainer.

An objective is one module of this folder and one line in ``__init__``. It names classes of TRL and imports none: a
study is read, and its rows are counted, without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from harness.spec.training import Recipe
    from harness.tokens import Encoded


class Form(NamedTuple):
    """One of the ways in which a row may hold what is learned.

    Attributes:
        before: Column with what comes before that: a ``prompt``, which may be missing, or a conversation in
            ``messages``, which goes through the chat template; None where nothing does.
        answers: Columns that hold it, of a pair the better answer first; none where it is the conversation's last turn.
        called: What a message calls the (first) answer.
    """

    before: Literal["prompt", "messages"] | None
    answers: tuple[str, ...]
    called: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a row of this form has."""
        return (*self.answers, "messages") if self.before == "messages" else self.answers


@dataclass(frozen=True)
class Objective:
    """What a model is trained for; see ``sft`` for single answers, ``dpo`` for pairs of them.

    Attributes:
        name: As ``recipe.objective`` has it.
        about: What it trains on, in a few words.
        needs: The columns that a row must have, in words.
        forms: What is learned of a row: the first of these that its columns fit.
        trainer: The trainer, ``module:class``. The loss of a batch must not depend on how it is cut into micro-batches:
            these are equal, so a mean over their rows does not.
        config: The class of its settings, written alike.
        columns: Training sequence -> the columns that the trainer reads.
        rate: The learning rate that ``harness init`` writes.
        short_rate: The one for rows of a few words, where those need another.
        refused: Column that a row must not have -> why it cannot be used, by this ``{objective}``.
        prompts: Whether what comes before an answer is learned, too.
        packed: Whether rows are put one after another and cut into blocks, rather than each cut by itself.
        settings: Recipe -> the trainer's settings, beside those that all trainers share.
        drafted: Columns that make ``harness init`` choose it, in rows that have one of them.
    """

    name: str
    about: str
    needs: str
    forms: tuple[Form, ...]
    trainer: str
    config: str
    columns: Callable[[Encoded], dict[str, Any]]
    rate: float
    short_rate: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    prompts: bool = False
    packed: bool = False
    settings: Callable[[Recipe], dict[str, Any]] = lambda recipe: {}
    drafted: tuple[str, ...] = ()

    @property
    def paired(self) -> bool:
        """Whether a row is two sequences."""
        return any(len(form.answers) > 1 for form in self.forms)
