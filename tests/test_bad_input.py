"""Wrong requests through the real command line: one clear sentence, exit code 2, nothing written."""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness import suites
from harness.__main__ import main
from harness.loading import load_study
from tests.conftest import ROOT, TINY_STUDY

RECIPE = "{lora: {r: 4, alpha: 8}, learning_rate: 1.0e-2, batch: 4, steps: 4, max_length: 64}"
BASELINE = "{mix: {scraped: 16}}"
SUMS_16 = "{tests: sums, mix: {sums: 16}}"
SUMS_8 = "{tests: sums, mix: {sums: 8}}"
ARMS = TINY_STUDY[TINY_STUDY.index("arms:") : TINY_STUDY.index("seeds:")]
TASK = TINY_STUDY[TINY_STUDY.index("{generator") : TINY_STUDY.index("\nsources:")]
SUMS = TINY_STUDY[TINY_STUDY.index("  sums: {gen", TINY_STUDY.index("sources:")) : TINY_STUDY.index("\nbaseline:")]
GOOD = "".join(json.dumps({"question": f"what is {i} and {i}", "answer": str(2 * i)}) + "\n" for i in range(30))
CONTENT = "prompt and completion, or messages, or text, or prompt, chosen and rejected"


@dataclass(frozen=True)
class Case:
    """A study with one mistake.

    Attributes:
        name: What is wrong.
        said: The message, or its beginning when it ends with "..."; ``{line}`` is the line the change starts in,
            ``{folder}`` the study's folder.
        old: What is changed in the study; nothing is when empty.
        new: What it becomes.
        text: A whole other study file.
        files: Further files by name.
        argv: The command.
    """

    name: str
    said: str
    old: str = ""
    new: str = ""
    text: str | None = None
    files: dict[str, str | bytes] = field(default_factory=dict)
    argv: tuple[str, ...] = ("plan", "study.yaml")


def source(name: str, said: str, spec: str, rows: str | bytes = GOOD, file: str = "rows.jsonl") -> Case:
    """Return a case with the source ``sums`` read from a file."""
    return Case(name, said, SUMS, f"  sums: {spec}", files={file: rows})


def designed(name: str, said: str, designs: str) -> Case:
    """Return a case with designs."""
    return Case(name, said, "seeds: 2", f"designs: {designs}\nseeds: 2")


def python(name: str, said: str, code: str) -> Case:
    return Case(name, said, files={"mine.py": code}, argv=("plan", "mine.py"))


FIELDS = [
    Case("of the study", '{line}: seed is not a field of a study. Did you mean "seeds"?', "seeds: 2", "seed: 2"),
    Case(
        "of a source", '{line}: sources.scraped.rowz is not a field of a source. Did you mean "rows"?',
        "rows: 60, seed: 1", "rowz: 60, seed: 1",
    ),
    Case(
        "of an arm", '{line}: arms.sums-16.test is not a field of a variant. Did you mean "tests"?',
        SUMS_16, "{test: sums, mix: {sums: 16}}",
    ),
    Case(
        "of an operation",
        "{line}: arms.verified.operations[0].verify.min_scores is not a field of the operation verify. "
        'Did you mean "min_score"?',
        "[verify]", "[{verify: {min_scores: 1}}]",
    ),
    Case(
        "of an operation written out",
        "{line}: arms.verified.operations[0].max_word is not a field of the operation filter. "
        'Did you mean "max_words"?',
        "[verify]", "[{op: filter, max_word: 9}]",
    ),
    Case(
        "of a recipe", '{line}: recipe.batchsize is not a field of a recipe. Did you mean "batch"?',
        "batch: 4", "batchsize: 4",
    ),
    Case("of lora", '{line}: recipe.lora.alfa is not a field of lora. Did you mean "alpha"?', "alpha: 8", "alfa: 8"),
    Case(
        "of a suite", '{line}: suite.confirm is not a field of a suite. Did you mean "confirmation"?',
        "  suite: held-out", "  confirm: 0.5\n  suite: held-out",
    ),
    Case(
        "of a task", '{line}: suite.tasks.sums.itemz is not a field of a task. Did you mean "items"?',
        "items: 24", "itemz: 24",
    ),
    Case(
        "of decide", '{line}: decide.smallest_efect is not a field of decide. Did you mean "smallest_effect"?',
        "smallest_effect", "smallest_efect",
    ),
    Case(
        "of decontaminate", '{line}: decontaminate.ngrams is not a field of decontaminate. Did you mean "ngram"?',
        "seeds: 2", "decontaminate: {ngrams: 8}\nseeds: 2",
    ),
]  # fmt: skip
MISSING = [
    Case("baseline", "1: baseline is missing", f"baseline: {BASELINE}\n"),
    Case("arms", "1: a study needs arms or designs, else there is nothing to compare", ARMS),
    Case("no arms", "1: a study needs arms or designs, else there is nothing to compare", ARMS, "arms: {}\n"),
    Case("empty arms", "{line}: arms: expected a mapping (it is empty)", ARMS, "arms: null\n"),
    Case("smallest effect", "{line}: decide.smallest_effect is missing", ", smallest_effect: 0.05"),
    Case("kind of source", "{line}: sources.x: a source needs exactly one of path, hub, generator; it has none of them",
         "  scraped: {gen", "  x: {rows: 3}\n  scraped: {gen"),
    Case("rows for weights",
         "{line}: arms.sums-8: weights (numbers with a decimal point) and rows or tokens (the total) go together",
         SUMS_8, "{tests: sums, mix: {sums: 0.5}}"),
    Case("revision of a model", "{line}: model: a/b: pin a revision, as in a/b@<commit>, or give an existing folder",
         "model: model", "model: a/b"),
    Case("what a filter asks for", "{line}: arms.verified.operations[0]: a filter needs at least one bound, ...",
         "[verify]", "[filter]"),
]  # fmt: skip
VALUES = [
    Case("number", "{line}: recipe.learning_rate: expected a number (it is 'fast')", "1.0e-2", "fast"),
    Case("whole number", "{line}: recipe.batch: expected a whole number (it is 4.5)", "batch: 4", "batch: 4.5"),
    Case("negative", "{line}: recipe.batch: must be greater than or equal to 1 (it is -4)", "batch: 4", "batch: -4"),
    Case("share", "{line}: sources.scraped.corrupt: must be less than or equal to 1 (it is 5)",
         "corrupt: 0.5", "corrupt: 5"),
    Case("finite", "{line}: decide.smallest_effect: expected a finite number (it is nan)",
         "smallest_effect: 0.05", "smallest_effect: .nan"),
    Case("rows of a mix", "{line}: baseline.mix.scraped: expected a number or 'all' (it is 'lots')",
         BASELINE, "{mix: {scraped: lots}}"),
    Case("mapping", "{line}: baseline.mix: expected a mapping (it is 'scraped')", BASELINE, "{mix: scraped}"),
    Case("list", "{line}: arms.verified.operations: expected a list (it is 'verify')", "[verify]", "verify"),
    Case("inside a list", "{line}: seeds[1]: expected a whole number (it is 'x')", "seeds: 2", "seeds: [1, x]"),
    Case("seeds", "{line}: seeds: expected a whole number or a list (it is 'two')", "seeds: 2", "seeds: two"),
    Case("no seeds", "{line}: seeds: expected between 1 and 100", "seeds: 2", "seeds: 0"),
    Case("a seed twice", "{line}: seeds: expected a number of seeds, or a list of different seeds",
         "seeds: 2", "seeds: [1, 1]"),
    Case("weight above 1", "{line}: arms.sums-8: mix.sums: a weight is at most 1; ...",
         SUMS_8, "{mix: {sums: 8.0}, rows: 8}"),
    Case("one of a few", '{line}: match: "step" is not one of its values. Did you mean "steps"?',
         "match: steps", "match: step"),
    Case("control", '{line}: controls[0]: "ab" is not one of its values. Valid here: aa, random_subset.',
         "seeds: 2", "controls: [ab]\nseeds: 2"),
    Case("name of an operation", '{line}: arms.verified.operations[0]: no operation is named "verfy". '
         'Did you mean "verify"?', "[verify]", "[verfy]"),
    Case("two operations in one", "{line}: arms.verified.operations[0]: expected one operation such as ...",
         "[verify]", "[{filter: {max_words: 3}, verify: {}}]"),
    Case("no operation", "{line}: arms.verified.operations[0]: expected one operation such as ...", "[verify]", "[3]"),
    Case("regular expression", "{line}: arms.verified.operations[0].filter.pattern: not a regular expression ...",
         "[verify]", "[{filter: {pattern: '(a'}}]"),
    Case("name of the study", "{line}: study: '../tiny' is not a name: ...", "study: tiny", "study: ../tiny"),
    Case("name of an arm", "{line}: arms.sums 8: 'sums 8' is not a name: ...", "  sums-8:", "  sums 8:"),
    Case("arm named baseline", '{line}: arms.baseline: "baseline" is taken (baseline, base and the controls have '
         "these names)", "  sums-8:", "  baseline:"),
    Case("arm equal to the baseline", "{line}: arms.sums-8: the arm is the baseline; give it a mix or operations",
         SUMS_8, "{tests: sums}"),
    Case("mix of an unknown source", '{line}: arms.sums-8.mix: no source is named "sumz". Did you mean "sums"?',
         SUMS_8, "{mix: {sumz: 8}}"),
    Case("rows with steps", "{line}: match: rows needs recipe.epochs instead of recipe.steps",
         "match: steps", "match: rows"),
    Case("form of the metric", "{line}: decide.metric: a metric is written task/metric, such as sums/exact_match",
         "sums/exact_match", "exact_match"),
    Case("task of the metric", '{line}: decide.metric: the suite has no task "sumz". Did you mean "sums"?',
         "sums/exact_match", "sumz/exact_match"),
    Case("metric", '{line}: decide.metric: task "sums" has no metric "exact_mach". Did you mean "exact_match"?',
         "sums/exact_match", "sums/exact_mach"),
    Case("model", "{line}: model: modle is no embedded model, Hub id with a revision, or folder. "
         'Did you mean "model"?', "model: model", "model: modle"),
    Case("embedded model", "{line}: model: smollm-135m-instruct is no embedded model, Hub id with a revision, or "
         'folder. Did you mean "smollm2-135m-instruct"?', "model: model", "model: smollm-135m-instruct"),
    Case("branch of a model", "{line}: model: a/b@main: the revision must be a commit hash of 40 hex digits "
         "(a branch can move)", "model: model", "model: a/b@main"),
    Case("folder without a model", "{line}: model: empty: the folder has no config.json",
         "model: model", "model: empty", files={"empty/note.txt": ""}),
    Case("model without safetensors", "{line}: model: pickled: no .safetensors file in the folder (pickled weights "
         "are not loaded)", "model: model", "model: pickled", files={"pickled/config.json": "{}"}),
]  # fmt: skip
DESIGNS = [
    designed("name", '{line}: designs[0]: no design is named "leave_one_in". Did you mean "leave_one_out"?',
             "[leave_one_in]"),
    designed("list", "{line}: designs: expected a list (it is 'leave_one_out')", "leave_one_out"),
    designed("no design", "{line}: designs[0]: expected one design such as `leave_one_out` or ...", "[3]"),
    designed("two in one", "{line}: designs[0]: expected one design such as ...",
             "[{leave_one_out: {}, add_one_in: {rows: 3}}]"),
    designed("field", "{line}: designs[0].size_ladder.rowz is not a field of the design size_ladder. "
             'Did you mean "rows"?', "[{size_ladder: {rowz: [8]}}]"),
    designed("field written out", "{line}: designs[0].rowz is not a field of the design add_one_in. "
             'Did you mean "rows"?', "[{design: add_one_in, rowz: 8}]"),
    designed("missing field", "{line}: designs[0].add_one_in.rows is missing", "[add_one_in: {replace: true}]"),
    designed("value", "{line}: designs[0].add_one_in.rows: expected a whole number (it is 'many')",
             "[{add_one_in: {rows: many}}]"),
    designed("sizes", "{line}: designs[0].size_ladder: a size_ladder needs either rows or fractions",
             "[size_ladder: {}]"),
    designed("operation of a factor", '{line}: designs[0].filter_factorial.factors.v: no operation is named "verfy". '
             'Did you mean "verify"?', "[{filter_factorial: {factors: {v: verfy, d: dedupe}}}]"),
    designed("field of an operation", "{line}: designs[0].filter_factorial.factors.f.filter.max_word is not a field of "
             'the operation filter. Did you mean "max_words"?',
             "[{filter_factorial: {factors: {v: verify, f: {filter: {max_word: 9}}}}}]"),
    designed("source", '{line}: designs[0].source: no source is named "sumz". Did you mean "sums"?',
             "[{size_ladder: {source: sumz, rows: [8]}}]"),
    designed("name taken", '{line}: designs[0]: it makes an arm "sums-8", and the study has another arm of that name; '
             "rename that one", "[{size_ladder: {source: sums, rows: [8]}}]"),
    designed("fit", "{line}: designs[0]: the baseline has one source, and nothing is left without it",
             "[leave_one_out]"),
    designed("rows of an arm it makes", "{line}: arms.only-sums-6000.mix.sums: 6,000 rows are asked for, sums has ...",
             "[{size_ladder: {source: sums, rows: [6000], alone: true}}]"),
    python("of a Python study", 'mine.py: designs[0].sources[0]: no source is named "sumz". Did you mean "sums"?',
           "import yaml\nfrom pathlib import Path\nfrom harness.spec import AddOneIn, Study\ndef study():\n"
           "    fields = yaml.safe_load(Path('study.yaml').read_text())\n"
           "    return Study.model_validate(fields | {'designs': [AddOneIn(sources=['sumz'], rows=8)]})\n"),
    python("part of a Python study", "mine.py:3: SizeLadder: a size_ladder needs either rows or fractions",
           "from harness.spec import SizeLadder\ndef study():\n    return SizeLadder()\n"),
]  # fmt: skip
SUITES = [
    Case("no items", "{line}: suite.tasks.sums.items: must be greater than or equal to 1 (it is 0)",
         "items: 24", "items: 0"),
    Case("generator's task", '{line}: suite.tasks.sums.task: reasoning-gym has no task "chain_summ". '
         'Did you mean "chain_sum"?', TASK, TASK.replace("chain_sum", "chain_summ")),
    Case("generator's setting", '{line}: suite.tasks.sums.config: chain_sum has no setting "max_termz". '
         'Did you mean "max_terms"?', TASK, TASK.replace("max_terms", "max_termz")),
    Case("task's metric", '{line}: suite.tasks.sums.metric: a generated task has no metric "exact". '
         'Did you mean "exact_match"?', "items: 24", "metric: exact, items: 24"),
    Case("slice", '{line}: suite.tasks.sums.slice: a generated entry has no field "carry". '
         'Did you mean "carries"?', TASK, TASK.replace("slice: carries", "slice: carry")),
    Case("too many items", "{line}: suite.tasks.sums.items: chain_sum with these settings gave ...",
         TASK, TASK.replace("items: 24", "items: 2000").replace("max_digits: 2", "max_digits: 1")),
    Case("folder", "{line}: suite.tasks.sums.path: no such folder: quizz ...",
         TASK, "{task: quiz, path: quizz}", files={"quiz/quiz.yaml": ""}),
    Case("folder without tasks", "{line}: suite.tasks.sums.path: no .yaml file (an lm-eval task) in quiz",
         TASK, "{task: quiz, path: quiz}", files={"quiz/quiz.txt": ""}),
]  # fmt: skip
DATA = [
    source("file", '{line}: sources.sums.path: no file "row.jsonl" in ...', "{path: row.jsonl}"),
    source("format", "{line}: sources.sums.path: rows.txt is not .jsonl, ...", "{path: rows.txt}", file="rows.txt"),
    source("empty file", "{line}: sources.sums: it has no rows. Nothing was started.", "{path: rows.jsonl}", rows=""),
    source("column", '{line}: sources.sums.fields.prompt: rows.jsonl:1: no column "qestion". '
           'Did you mean "question"?', "{path: rows.jsonl, fields: {prompt: '{qestion}', completion: answer}}"),
    source("field of a row", '{line}: sources.sums.fields: "promt" is not a field of a row. Did you mean "prompt"?',
           "{path: rows.jsonl, fields: {promt: question, completion: answer}}"),
    source("layout", "rows.jsonl:1: its columns (text, prompt, completion) could be read as completion+prompt or "
           f"text. Declare sources.sums.fields: {CONTENT}.",
           "{path: rows.jsonl}", rows='{"text": "a", "prompt": "b", "completion": "c"}\n'),
    source("line", "rows.jsonl:31: not JSON (unterminated string at column 14). 30 good rows before it. Fix the line, "
           "or set sources.sums.on_bad_row: drop.", "{path: rows.jsonl}", rows=GOOD + '{"question": "a\n'),
    source("every line", "{line}: sources.sums: all 2 rows are bad; the first, rows.jsonl:1: not JSON (unterminated "
           "string at column 2). Nothing was started.", "{path: rows.jsonl, on_bad_row: drop}", rows='{"a\n[]\n'),
    source("verifier", "{line}: sources.sums: verify: the row rows.jsonl:1 has no verifier; ...",
           "{path: rows.jsonl, operations: [verify]}"),
    source("branch of a dataset", "{line}: sources.sums.revision: main is not a commit hash of 40 hex digits "
           "(a branch can move)", "{hub: a/b, revision: main}"),
    Case("generator's task", '{line}: sources.scraped.task: reasoning-gym has no task "chain_summ". '
         'Did you mean "chain_sum"?', "  scraped: {generator: reasoning-gym, task: chain_sum",
         "  scraped: {generator: reasoning-gym, task: chain_summ"),
    Case("generator's setting", '{line}: sources.sums.config: chain_sum has no setting "max_termz". '
         'Did you mean "max_terms"?', SUMS, SUMS.replace("max_terms", "max_termz")),
    Case("field of an entry", "{line}: sources.sums.fields.prompt: reasoning-gym/chain_sum#0: no column "
         '"expresion". Did you mean "expression"?', '{prompt: "Q: {expression} =\\nA:", completion: " {answer}"}, cost',
         '{prompt: "Q: {expresion} =\\nA:", completion: " {answer}"}, cost'),
    Case("rows of the baseline", "{line}: baseline.mix.scraped: 6,000 rows are asked for, scraped has ...",
         BASELINE, "{mix: {scraped: 6000}}"),
    Case("rows of an arm", "{line}: arms.sums-16.mix.sums: 1,600 rows are asked for, sums has ...",
         SUMS_16, "{mix: {sums: 1600}}"),
    Case("nothing left in an arm", "{line}: arms.verified: scraped: 0 of 16 rows are left after "
         "filter(min_words=4000); the largest row has ...", "[verify]", "[{filter: {min_words: 4000}}]"),
    Case("nothing left in a source", "{line}: sources.sums: 0 of 60 rows are left after filter(min_words=4000); ...",
         SUMS, SUMS.replace("{gen", "{operations: [{filter: {min_words: 4000}}], gen")),
]  # fmt: skip
FILES = [
    Case("study", 'stdy.yaml: no such study file. Did you mean "study.yaml"?', argv=("plan", "stdy.yaml")),
    Case("study in no folder", "gone/study.yaml: no such study file.", argv=("run", "gone/study.yaml")),
    Case("folder", "model: a folder, expected a study file ...", argv=("plan", "model")),
    Case("suffix", "study.txt: a study is a .yaml file, or a .py file with a function study()",
         files={"study.txt": TINY_STUDY}, argv=("plan", "study.txt")),
    Case("empty", "study.yaml: the file is empty", text=""),
    Case("not YAML", "{line}: not YAML (expected ...", "  verified: {", "  verified: {["),
    Case("twice", '{line}: "seeds" is given twice', "match: steps", "seeds: 3\nmatch: steps"),
    Case("list", "study.yaml:1: expected a mapping that starts with `study: <name>`", text="- a\n- b\n"),
    Case("no date", "{line}: '2026-13-45' is no value (month must be in 1..12)", "seeds: 2", "seeds: 2026-13-45"),
    Case("recipe", '{line}: recipe: no such file: lroa.yaml. Did you mean "lora.yaml"?', RECIPE, "lroa.yaml",
         files={"lora.yaml": "steps: 4"}),
    Case("in the recipe", 'lora.yaml:2: recipe.stps is not a field of a recipe. Did you mean "steps"?',
         RECIPE, "lora.yaml", files={"lora.yaml": "batch: 4\nstps: 4\n"}),
    Case("suite", '{line}: suite: no such file: suites/sum.yaml. Did you mean "sums.yaml"?',
         TINY_STUDY[TINY_STUDY.index("suite:") : TINY_STUDY.index("sources:")], "suite: suites/sum.yaml\n",
         files={"suites/sums.yaml": "suite: sums"}),
]  # fmt: skip
PYTHON = [
    python("nothing", "mine.py: expected a function study() that returns a harness.spec.Study", "x = 1\n"),
    python("raises", "mine.py:2: ZeroDivisionError: division by zero", "def study():\n    return 1 / 0\n"),
    python("syntax", "mine.py:1: SyntaxError: ...", "def study(:\n"),
    python("wrong thing", "mine.py: study() returned int, expected a harness.spec.Study", "def study():\n    return 3"),
    python("wrong part", 'mine.py:3: Recipe: batchsize is not a field of a recipe. Did you mean "batch"?',
           "from harness.spec import Recipe\ndef study():\n    return Recipe(batchsize=4, steps=4)\n"),
    python("wrong data", "mine.py: arms.sums-16.mix.sums: 1,600 rows are asked for, sums has ...",
           "import yaml\nfrom pathlib import Path\nfrom harness.spec import Study\ndef study():\n"
           "    text = Path('study.yaml').read_text().replace('{sums: 16}', '{sums: 1600}')\n"
           "    return Study.model_validate(yaml.safe_load(text))\n"),
]  # fmt: skip
COMMANDS = [
    Case("store", "--store: study.yaml is a file, expected a folder",
         argv=("plan", "study.yaml", "--store", "study.yaml")),
    Case("store below a file", "--store: ...", argv=("run", "study.yaml", "--store", "study.yaml/store")),
    Case("store of a list", "--store: study.yaml is a file, expected a folder",
         argv=("store", "ls", "--store", "study.yaml")),
    Case("device", '--device: "tpu" is no device. Did you mean "cpu"?', argv=("run", "study.yaml", "--device", "tpu")),
    Case("variant", 'study.yaml has no variant "verifed". Did you mean "verified"?',
         argv=("data", "show", "study.yaml:verifed")),
    Case("no variant", "study.yaml: expected STUDY:VARIANT, such as experiments/quickstart.yaml:baseline, "
         "or a file of rows (jsonl, csv, ...)",
         argv=("data", "show", "study.yaml")),
    Case("seed", "--seed: 9 is not a seed of the study (1, 2)",
         argv=("data", "show", "study.yaml:verified", "--seed", "9")),
    Case("source", '--source: verified has no rows of "scrapd". Did you mean "scraped"?',
         argv=("data", "show", "study.yaml:verified", "--source", "scrapd")),
    Case("operation", '--dropped-by: no row of verified was dropped by "verfy". Did you mean "verify"?',
         argv=("data", "show", "study.yaml:verified", "--dropped-by", "verfy")),
    *(
        Case(f"{verb} of a wrong study", '{line}: seed is not a field of a study. Did you mean "seeds"?',
             "seeds: 2", "seed: 2", argv=(verb, "study.yaml"))
        for verb in ("run", "status", "compare", "decide", "sync")
    ),
    Case("run of a wrong metric",
         '{line}: decide.metric: task "sums" has no metric "exact_mach". Did you mean "exact_match"?',
         "sums/exact_match", "sums/exact_mach", argv=("run", "study.yaml")),
    Case("run of wrong data", "{line}: baseline.mix.scraped: 6,000 rows are asked for, scraped has ...",
         BASELINE, "{mix: {scraped: 6000}}", argv=("run", "study.yaml")),
]  # fmt: skip


def task(name: str, said: str, **files: str) -> Case:
    """Return a case with a suite's task in the folder ``quiz``; in names of files ``__`` stands for the dot."""
    held = {f"quiz/{file.replace('__', '.')}": text for file, text in files.items()}
    return Case(name, f"{{line}}: suite.tasks.sums.path: {said}", TASK, "{task: quiz, path: quiz}", files=held)


def model(name: str, said: str, **files: str | bytes) -> Case:
    """Return a case with files of the model changed; in their names ``__`` stands for the dot."""
    held = {f"model/{file.replace('__', '.')}": text for file, text in files.items()}
    return Case(name, said, files=held)


SHARDS = '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
MODELS = [
    model("configuration", "study.yaml:3: model: model: config.json is not JSON (Expecting value: line 1 column 1 "
          "(char 0))", config__json="nothing"),
    model("configuration that is a list", "study.yaml:3: model: model: config.json: expected a JSON object",
          config__json="[]"),
    model("code", "study.yaml:3: model: model: it needs Python code of its own, which is not run; if you trust it, say "
          "trust_remote_code: true in the study",
          config__json='{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}'),
    model("adapter", "study.yaml:3: model: model: the folder holds an adapter; merge it into its base model and name "
          "that", adapter_config__json="{}"),
    model("missing part", "study.yaml:3: model: model: model-00001-of-00002.safetensors is missing from the folder",
          model__safetensors__index__json=SHARDS),
    model("part elsewhere", "study.yaml:3: model: model: model.safetensors.index.json names '../a', which is no file "
          "beside it", model__safetensors__index__json='{"weight_map": {"a": "../a"}}'),
    model("tokenizer", "{folder}/model/tokenizer.json: not a tokenizer (Model missing. ...", tokenizer__json="{}"),
    model("tokenizer's configuration", "{folder}/model/tokenizer_config.json: not JSON (...",
          tokenizer_config__json="{"),
    model("no end of text", "{folder}/model/tokenizer_config.json: no eos_token; a row could not say where it ends",
          tokenizer_config__json="{}", generation_config__json="{}", config__json='{"model_type": "llama"}'),
    Case("code that is trusted and not there", "study.yaml:3: model: model: its code mine.py is not in the folder",
         "seeds: 2", "trust_remote_code: true\nseeds: 2",
         files={"model/config.json": '{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}'}),
    Case("name of a Hub model", "{line}: model: a--b/c@" + "0" * 40 + ": a--b/c is no name of a Hub repository",
         "model: model", "model: a--b/c@" + "0" * 40),
]  # fmt: skip
TASKS = [
    task("YAML", "quiz.yaml:1: not YAML (expected ',' or ']', but got '<stream end>')", quiz__yaml="task: [quiz"),
    task("function", "quiz.yaml:2: !function os.getcwd: no such function in a Python file of the folder",
         quiz__yaml="task: quiz\ndoc_to_text: !function os.getcwd"),
    task("include", "quiz.yaml:2: include: no file ../study.yaml in the folder",
         quiz__yaml="task: quiz\ninclude: ../study.yaml"),
    task("pickles", "quiz.yaml:2: dataset_path: pandas reads pickles, which are not loaded; use json",
         quiz__yaml="task: quiz\ndataset_path: pandas"),
    task("archive", "quiz.zip: holds a zip archive (unpack it), not .zip",
         quiz__yaml="task: quiz", quiz__zip="PK\3\4"),
]  # fmt: skip
GZIP = gzip.compress(GOOD.encode(), mtime=0)
ENGINES = [
    Case(name, said, files={"engine.yaml": text}, argv=("plan", "study.yaml", "--engine", "engine.yaml"))
    for name, text, said in (
        ("field", "engine: ray\nworker: {cpu: 1}\n",
         'engine.yaml:2: worker.cpu is not a field of a worker config. Did you mean "cpus"?'),
        ("engine", "engine: rays\n", 'engine.yaml:1: engine: no engine is named "rays". Did you mean "ray"?'),
        ("value", "engine: ray\nworker: {cpus: 0}\n", "engine.yaml:2: worker.cpus: ..."),
        ("number", "engine: local\nworkers: many\n", "engine.yaml:2: workers: ..."),
        ("nothing", "", "engine.yaml: ..."),
        ("YAML", "engine: [ray\n", "engine.yaml:2: not YAML ..."),
        ("of the other engine", "engine: local\nretries: 3\n", "engine.yaml:2: retries is not a field of ..."),
    )
] + [
    Case("no engine", '--engine: "rai" is no engine and no engine file (.yaml). Did you mean "ray"?',
         argv=("run", "study.yaml", "--engine", "rai")),
    Case("no file", '--engine: no such file: engin.yaml. Did you mean "engine.yaml"?',
         files={"engine.yaml": "engine: local"}, argv=("run", "study.yaml", "--engine", "engin.yaml")),
    Case("address nobody listens at", "--address: 127.0.0.1:1: no Ray cluster can be reached (...",
         argv=("run", "study.yaml", "--engine", "ray", "--address", "127.0.0.1:1")),
]  # fmt: skip
CONTENTS = [
    source("gzip that is cut", "rows.jsonl.gz: cannot be read...", "{path: rows.jsonl.gz}", GZIP[:-9], "rows.jsonl.gz"),
    source("gzip that is none", "rows.jsonl.gz: cannot be read (Not a gzipped file (b'{\"'))", "{path: rows.jsonl.gz}",
           file="rows.jsonl.gz"),
    source("gzip by another name", "rows.jsonl: holds gzip data (call it .gz), not .jsonl", "{path: rows.jsonl}", GZIP),
    source("zstd that is none", "rows.jsonl.zst: cannot be read...", "{path: rows.jsonl.zst}", file="rows.jsonl.zst"),
    source("empty gzip", "rows.jsonl.gz: the file is empty, without even the header of a .gz file",
           "{path: rows.jsonl.gz}", b"", "rows.jsonl.gz"),
    source("archive", "rows.jsonl: holds a zip archive (unpack it), not .jsonl", "{path: rows.jsonl}",
           b"PK\x03\x04" + b"x" * 40),
    source("UTF-16", "rows.jsonl: holds UTF-16 text (save it as UTF-8), not .jsonl", "{path: rows.jsonl}",
           GOOD.encode("utf-16")),
    source("Latin-1", "rows.jsonl:31: not UTF-8 text (byte 7 of the line). 30 good rows before it. ...",
           "{path: rows.jsonl}", GOOD.encode() + '{"a":"é"}\n'.encode("latin-1")),
    source("parquet", "rows.parquet: not a parquet file that can be read ...", "{path: rows.parquet}", b"PAR1 PAR1",
           "rows.parquet"),
    source("parquet by another name", "rows.csv: holds a parquet file (call it .parquet), not .csv",
           "{path: rows.csv}", b"PAR1 PAR1", "rows.csv"),
    source("JSON that is no list", "rows.json: expected a list of objects, or {\"data\": [...]}, not text",
           "{path: rows.json}", '"rows"', "rows.json"),
    source("JSON lines in .json", "rows.json: not JSON (extra data at line 2, column 1); a file with one object per "
           "line is called .jsonl", "{path: rows.json}", GOOD, "rows.json"),
    source("list in .jsonl", "rows.jsonl:1: not JSON (expecting value at column 2); a file that is one list is called "
           ".json. 0 good rows before it. ...", "{path: rows.jsonl}", "[\n" + GOOD),
    source("key twice", 'rows.jsonl:1: not JSON (the key "a" is there twice). 0 good rows before it. ...',
           "{path: rows.jsonl}", '{"a": 1, "a": 2}\n'),
    source("column twice", 'rows.csv:1: column "a" is there twice', "{path: rows.csv}", "a,a\n1,2\n", "rows.csv"),
    source("cells", "rows.csv:3: 1 cell where the header has 2. 1 good row before it. ...",
           "{path: rows.csv, fields: {prompt: a, completion: b}}", "a,b\n1,2\n3\n", "rows.csv"),
    source("open quote", "rows.csv:2: not CSV (a quote is opened here and not closed in the 3 lines to line 4)",
           "{path: rows.csv, fields: {prompt: a, completion: b}}", 'a,b\n"1,2\n3,4\n5,6\n', "rows.csv"),
    source("format as a dataset", "{line}: sources.sums.hub: json is a file format, no dataset; name files with path",
           "{hub: json, revision: " + "a" * 40 + "}"),
]  # fmt: skip
CALLS = [
    Case(name, said, argv=tuple(argv.split()))
    for name, argv, said in (
        ("verb", "plam study.yaml", 'harness: there is no command "plam". Did you mean "plan"?'),
        ("option", "plan study.yaml --wokers 2",
         'harness plan: there is no option "--wokers". Did you mean "--workers"?'),
        ("verb of the store", "store verfy", 'harness store: there is no command "verfy". Did you mean "verify"?'),
        ("kind of the store", "store ls --kind adaptor", '--kind: the store has no "adaptor".'),
        ("order of the store", "store ls --sort sise", '--sort: "sise" is no order. Did you mean "size"?'),
        ("number", "plan study.yaml --workers two", "harness plan: --workers: ..."),
        ("missing study", "decide", "harness decide: STUDY is missing ..."),
        ("one too many", "plan study.yaml other.yaml", "harness plan: ..."),
        ("store that is a URL", "plan study.yaml --store s4://bucket/store", "--store: ..."),
    )
]  # fmt: skip
GROUPS = {
    "model": MODELS, "engine": ENGINES, "task": TASKS, "content": CONTENTS, "call": CALLS,
    "field": FIELDS, "missing": MISSING, "value": VALUES, "design": DESIGNS, "suite": SUITES, "data": DATA,
    "file": FILES, "python": PYTHON, "command": COMMANDS,
}  # fmt: skip
CASES = [pytest.param(case, id=f"{group}: {case.name}") for group, cases in GROUPS.items() for case in cases]


@pytest.fixture
def scratch(study_folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of the command and of the processes it starts; the study's folder is current."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.chdir(study_folder)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return folder


def change(folder: Path, old: str, new: str) -> int:
    """Change the study; return the line the change starts in."""
    study = folder / "study.yaml"
    text = study.read_text()
    assert text.count(old) == 1, "the case must change one place"
    start = text.index(old)
    while new and old[:1] == new[:1]:  # the change starts where the two begin to differ
        old, new, start = old[1:], new[1:], start + 1
    study.write_text(text[:start] + new + text[start + len(old) :])
    return text[:start].count("\n") + 1


def refused(
    argv: tuple[str, ...], folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> str:
    """Return what a refused command says, having checked that it leaves everything as it was."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(sys, "argv", ["harness", *argv])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2, printed.err
    assert printed.out == ""
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before, "something was written"
    assert list(scratch.iterdir()) == [], "temporary files were left"
    return printed.err


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_request_is_one_sentence_with_its_place(
    case: Case, study_folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name, content in case.files.items():
        (study_folder / name).parent.mkdir(exist_ok=True)
        (study_folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if case.text is not None:
        (study_folder / "study.yaml").write_text(case.text)
    line = change(study_folder, case.old, case.new) if case.old else 0
    said = refused(case.argv, study_folder, scratch, monkeypatch, capsys)
    expected = case.said.replace("{line}", f"study.yaml:{line}")
    expected = f"study.yaml:{expected}" if expected.startswith("1: ") else expected
    expected = expected.replace("{folder}", str(study_folder))
    if expected.endswith("..."):
        assert said.startswith(expected.removesuffix("..."))
    else:
        assert said == expected + "\n"
    assert said.count("\n") == 1


def test_a_source_that_is_the_suite_leaves_nothing_to_train_on(
    study_folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    items = suites.generate(load_study(study_folder / "study.yaml").study.suite, scratch / "suite")
    rows = [json.dumps({"prompt": item["question"], "completion": item["answer"]}) for item in items]
    (study_folder / "rows.jsonl").write_text("\n".join(rows))
    for path in sorted(scratch.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    line = change(study_folder, SUMS, "  sums: {path: rows.jsonl}")
    said = refused(("plan", "study.yaml"), study_folder, scratch, monkeypatch, capsys)
    assert said == (
        f"study.yaml:{line}: sources.sums: all 24 rows overlap the suite held-out; nothing is left to train on\n"
    )


QUIZ = """\
task: quiz
dataset_path: json
dataset_kwargs: {data_files: {test: quiz.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: label
metric_list: [{metric: acc}, {metric: f1}]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "metric", "field", "said"),
    [
        ("{task: quiz, path: quiz}", "ac", "decide:", 'decide.metric: task "sums" has no metric "ac". '
         'Did you mean "acc"?'),
        ("{task: quiz, path: quiz}", "f1", "decide:", 'decide.metric: task "sums" has no metric "f1". Valid here: '
         "acc, choice_prob, gold_logprob, gold_logprob_per_byte, gold_logprob_per_token, margin."),
        ("{task: quizz, path: quiz}", "acc", "    sums:", 'suite.tasks.sums.task: no task is named "quizz" in the YAML '
         'files of quiz. Did you mean "quiz"?'),
        ("{task: arc_esy}", "acc", "    sums:", 'suite.tasks.sums.task: no task is named "arc_esy" in lm-eval\'s '
         'registry. Did you mean "arc_easy"?'),
    ],
    ids=["metric", "metric over all items", "local task", "registry task"],
)  # fmt: skip
def test_lm_eval_tasks_are_checked_before_anything_starts(
    task: str, metric: str, field: str, said: str,
    study_folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    quiz = study_folder / "quiz"
    quiz.mkdir()
    (quiz / "quiz.yaml").write_text(QUIZ)
    docs = [{"question": f"Is {i} even?", "choices": ["yes", "no"], "label": i % 2} for i in range(12)]
    (quiz / "quiz.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    change(study_folder, TASK, task)
    change(study_folder, "sums/exact_match", f"sums/{metric}")
    lines = (study_folder / "study.yaml").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if text.startswith(field))
    printed = refused(("run", "study.yaml"), study_folder, scratch, monkeypatch, capsys)
    note, *rest = printed.splitlines()
    assert note == "Reading the tasks of suite held-out (once per suite)"
    assert rest == [f"study.yaml:{line}: {said}"]


def test_a_store_that_is_there_is_not_touched_either(
    study_folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "plan", "study.yaml", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    capsys.readouterr()
    assert list(scratch.iterdir()) == []
    change(study_folder, SUMS_8, "{tests: sums, mix: {sums: 7000}}")
    said = refused(("run", "study.yaml"), study_folder, scratch, monkeypatch, capsys)
    assert "arms.sums-8.mix.sums: 7,000 rows are asked for" in said
