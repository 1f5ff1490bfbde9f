"""From scores to decisions: what a study asks, how each arm compares, what to do about each source and
treatment."""

from harness.decisions.evidence import Evidence, compare, explore
from harness.decisions.questions import Question, questions, rule, subject
from harness.decisions.verdicts import decide

__all__ = ["Evidence", "Question", "compare", "decide", "explore", "questions", "rule", "subject"]
