"""The scaffold: from files of the user's to a first study, with a suite carved out of their own rows.

``columns`` tells which column is what, ``registry`` reads what LLaMA-Factory's ``dataset_info.json`` says of it,
``look`` reads a file and says what is in it, ``heldout`` takes items out of the rows, ``size`` chooses how large a
study fits the time, ``draft`` words it as YAML with comments, ``out`` says where it goes, ``first`` does it all.
``example`` writes the quickstart study instead.
"""

from harness.scaffold.example import write_example
from harness.scaffold.first import Asked, Written, first_study
from harness.scaffold.size import Machine

__all__ = ["Asked", "Machine", "Written", "first_study", "write_example"]
