"""The study in words: YAML with a comment wherever something was assumed."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness.escaping import visible
from harness.scaffold.heldout import METRIC, TASK, WORDS, HeldOut
from harness.scaffold.look import Pool
from harness.scaffold.size import FIRST, Machine, Size
from harness.spec import Decontaminate, Source

WIDTH = 110
SHORT_TOKENS = 40  # rows of a few words stand, and need, a higher rate
DOING = {
    "verified": "keeping only answers that check out", "deduped": "dropping repeats", "cleaned": "repairing the text",
    "shorter": "dropping the longest rows",
}  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """All that the text says.

    Attributes:
        study: Its name.
        model: As the study writes it.
        pools: The sources.
        sources: How each is written.
        available: Rows of each that may train.
        held: Its items; None where the user named a suite.
        suite: File of the user's suite, or the folder of the items, both relative to the study.
        metric: Task and metric that decide.
        size: How large it is.
        machine: What its time was reckoned for.
        filters: Arms with operations: name -> operation as written, share of rows it drops.
        chat: Whether rows are rendered through the model's chat template.
        mean: Tokens per row.
        decontaminate: How copies of items are told.
    """

    study: str
    model: str
    pools: Sequence[Pool]
    sources: dict[str, Source]
    available: dict[str, int]
    held: HeldOut | None
    suite: str
    metric: str
    size: Size
    machine: Machine
    filters: dict[str, tuple[Any, float]]
    chat: bool
    mean: float
    decontaminate: Decontaminate


def question(draft: Draft) -> str:
    """Return what the study asks."""
    names, rows = list(draft.sources), f"{sum(draft.size.mix.values()):,} rows"
    doing = [DOING.get(name, "keeping one language only") for name in draft.filters]
    helps = f" Does {', or '.join(doing)}, help?" if doing else ""
    if len(names) == 1:
        return f"Are {rows} of {names[0]} enough?{helps}"
    return f"Which of {', '.join(names[:-1])} and {names[-1]} earns its place, and are {rows} enough?{helps}"


def text(draft: Draft) -> str:
    """Return the study file."""
    size, took = draft.size, draft.size.seconds / 60
    speed = "measured here" if draft.machine.measured else "assumed until measured"
    workers = f"{draft.machine.workers} {'worker' if draft.machine.workers == 1 else 'workers'}"
    lines = [
        *comment(
            f"A first study, written by `harness init`. {size.runs} runs at most, {max(1, round(took))} min on "
            f"{workers} ({draft.machine.device}, {draft.machine.training:.0f} tokens/s each, {speed}). Read it, "
            "change what is wrong, then: harness plan, harness run."
        ),
        f"study: {flow(draft.study)}",
        f"question: {flow(question(draft))}",
        'hypothesis: "" # what you expect, written before you look',
        "",
        f"model: {flow(draft.model)} # or owner/name@<commit>, or a folder with safetensors",
        *_recipe(draft),
        "",
        *_suite(draft),
        "",
        "sources:",
        *(line for pool in draft.pools for line in _source(draft, pool)),
        "",
        *_overlaps(draft),
        *_mix(draft),
        *_arms(draft),
        "controls: [aa, random_subset] # arms that must show nothing: other seeds, and rows dropped at random",
        "",
        *comment(
            "How often every arm is trained. The study is looked at in stages; arms whose questions are settled end."
        ),
        f"seeds: {{from: {FIRST}, to: {size.seeds}}}",
        "match: steps # every arm trains equally long: the data differ, the time does not",
        *_rule(draft),
    ]
    return "\n".join(lines) + "\n"


def _recipe(draft: Draft) -> list[str]:
    size = draft.size
    objective = draft.pools[0].objective
    rate = (draft.mean <= SHORT_TOKENS and objective.short_rate) or objective.rate
    shown = size.steps * size.batch
    template = "chat_template: true # rows are rendered as conversations" if draft.chat else "chat_template: false"
    return [
        "recipe:",
        f"  objective: {objective.name}",
        f"  learning_rate: {rate:.1e}",
        f"  batch: {size.batch}",
        f"  steps: {size.steps} # {shown:,} rows are seen, with repeats where a training set has fewer",
        f"  max_length: {size.max_length} # tokens; longer rows are cut (the average row has {draft.mean:.0f})",
        f"  {template}",
    ]


def _suite(draft: Draft) -> list[str]:
    held = draft.held
    if held is None:
        return [f"suite: {flow(draft.suite)}"]
    where = ", ".join(f"{count} from {name}" for name, count in held.items.items())
    named = "The study is judged by them, so read some: wrong answers there make wrong verdicts."
    taken = "They never train: sources below read the rest." if any(held.taken.values()) else "They never train."
    lines = [
        *comment(f"{len(held.docs)} of your own rows, held out ({where}). {taken} {named}"),
        "suite:",
        f"  suite: {flow(f'{draft.study}-{TASK}')}",
        "  tasks:",
        f"    {TASK}:",
        f"      task: {flow(task_name(draft.study))}",
        f"      path: {flow(draft.suite)}",
        f"      metric: {held.metric} # {WORDS[held.kind].split(': ', 1)[1]}",
    ]
    if "slice" in held.docs[0]:
        what = "the source it comes from" if len(held.items) > 1 else "effects are also shown for each"
        lines.append(f"      slice: slice # {what}")
    if "group" in held.docs[0]:
        lines.append("      group: group # items of one group are not independent; intervals know it")
    if draft.chat:
        lines.append("  chat_template: true")
    return [*lines, "  confirmation: 0.3 # share of items that only confirm; the others decide"]


def task_name(study: str) -> str:
    """Return the lm-eval name of the carved task."""
    return f"{TASK}_{study}"


def _source(draft: Draft, pool: Pool) -> list[str]:
    source = draft.sources[pool.name]
    given = source.model_dump(mode="json", exclude_defaults=True, exclude={"fields"})
    lines = [f"  {flow(pool.name)}:"]
    for finding in pool.findings:
        lines += [f"    {line}" for line in comment(finding)]
    lines += [f"    {name}: {flow(value)}" for name, value in given.items()]
    if source.fields:
        lines.append("    fields:")
        lines += [f"      {name}: {flow(template)}" for name, template in source.fields.items()]
    if source.origin is None:
        lines.append("    # origin: production # or annotation, public, augmented, synthetic")
    lines.append("    # cost_per_row: 0.10 # what a further row costs you, to weigh gains against")
    return lines


def _overlaps(draft: Draft) -> list[str]:
    changed = draft.decontaminate.model_dump(mode="json", exclude_defaults=True)
    if not changed:
        return []
    why = "not fuzzy: rows from one template would all be edited copies of items"
    return [f"decontaminate: {flow(changed)} # {why}", ""]


def _mix(draft: Draft) -> list[str]:
    size = draft.size
    kept = [name for name in size.mix if name not in size.left_out]
    lines = [f"baseline: {{mix: {flow(size.mix)}}} # rows per source"]
    if len(size.mix) > 1 and kept:
        lines += comment(
            f"{', '.join(kept)} cannot be left out: the others hold too few rows to stand in for it. More rows there, "
            "or a smaller baseline, change that."
        )
    return lines


def _arms(draft: Draft) -> list[str]:
    size = draft.size
    lines: list[str] = []
    if draft.filters:
        lines.append("arms:")
        for name, (operation, share) in draft.filters.items():
            drops = f" # drops about {share:.0%} of the rows" if share else ""
            lines.append(f"  {name}: {{tests: {flow(name)}, operations: [{flow(operation)}]}}{drops}")
    designs = []
    if size.left_out:
        some = size.left_out != tuple(size.mix)
        what = f"leave_one_out: {{sources: {flow(list(size.left_out))}}}" if some else "leave_one_out"
        designs.append(f"  - {what} # each source left out once, the others fill up: what is it worth?")
    if size.fractions:
        only = next(iter(size.mix)) if len(size.mix) == 1 else None
        ladder = {"source": only} if only else {}
        rungs = flow({"size_ladder": {**ladder, "fractions": list(size.fractions)}})
        designs.append(f"  - {rungs} # the same mix with fewer rows: are this many needed?")
    return [*lines, *(["designs:", *designs] if designs else [])]


def _rule(draft: Draft) -> list[str]:
    smallest = METRIC[draft.held.kind][1] if draft.held else 0.05
    return [
        *comment("The decision rule, fixed before anything runs. smallest_effect: the gain that would matter to you."),
        f"decide: {{metric: {flow(draft.metric)}, smallest_effect: {smallest}, alpha: 0.05}}",
    ]


def comment(said: str) -> list[str]:
    """Return text as comment lines; what cannot be seen is spelled out."""
    flat = " ".join(visible(said).split())
    return [f"# {line}" for line in textwrap.wrap(flat, WIDTH, break_long_words=False, break_on_hyphens=False)]


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, str) and "\n" in value:
        return json.dumps(value, ensure_ascii=False)
    dumped = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return dumped.removesuffix("\n").removesuffix("\n...")
