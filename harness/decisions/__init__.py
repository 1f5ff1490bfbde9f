"""From scores to decisions: a study's questions, the comparison of each arm, a verdict on each subject."""

from harness.decisions.buying import buy, check
from harness.decisions.evidence import Evidence, compare, explore
from harness.decisions.questions import Question, questions, rule, subject
from harness.decisions.stages import Course, course
from harness.decisions.verdicts import decide

__all__ = [
    "Course", "Evidence", "Question", "buy", "check", "compare", "course", "decide", "explore", "questions", "rule",
    "subject",
]  # fmt: skip
