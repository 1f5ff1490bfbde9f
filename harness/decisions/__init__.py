"""From scores to decisions: a study's questions, the comparison of each arm, a verdict on each subject."""

from harness.decisions.evidence import Evidence, compare, explore
from harness.decisions.questions import Question, questions, rule, subject
from harness.decisions.verdicts import decide

__all__ = ["Evidence", "Question", "compare", "decide", "explore", "questions", "rule", "subject"]
