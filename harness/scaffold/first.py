"""The first study: reads the user's files, carves out a suite, chooses a size, and writes it all down, or nothing."""

from __future__ import annotations

import math
import re
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from harness import designs, models, outside
from harness.data import contamination, files, operations, sources
from harness.data.rows import place, ranked
from harness.errors import RequestError
from harness.scaffold import heldout, out
from harness.scaffold.draft import Draft, task_name, text
from harness.scaffold.heldout import TASK, HeldOut
from harness.scaffold.look import Pool, affected, look
from harness.scaffold.paths import named, relative, source, splits
from harness.scaffold.size import Machine, Size, size
from harness.spec import NAME, Decontaminate, Study, Suite
from harness.spec.base import NO_NAME
from harness.spec.operations import operation
from harness.store import Store
from harness.tokens import RowEncoder

COUNTED = 400  # rows of each source whose tokens are counted
CHARACTERS_PER_TOKEN = 3.0
UNCUT = 1_000_000_000
BLOCK = 128  # tokens of a packed block of text
LEAST_DROPPED, MOST_DROPPED = 0.05, 0.9  # share of a draw that an operation must drop to be worth an arm
MOST_FILTERS = {True: 3, False: 2}  # by whether there is only one source


@dataclass(frozen=True)
class Asked:
    """What the user wants.

    Attributes:
        files: Files, globs, folders or ``owner/name@commit``; each becomes a source.
        out: The study file to write; what goes with it is written to ``<stem>-data`` beside it.
        name: The study's name; None: the file's.
        model: As in a study, a folder relative to the current directory.
        eval: A file of rows to test on; None: they are carved out of the sources.
        suite: A suite file to test on instead.
        metric: ``task/metric`` that decides; only with ``suite``.
        fields: Fields declared for all files.
        minutes: Time the study may take here.
        force: Whether to replace what is there.
    """

    files: tuple[str, ...]
    out: Path
    name: str | None
    model: str
    eval: str | None = None
    suite: Path | None = None
    metric: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    minutes: float = 25.0
    force: bool = False


@dataclass(frozen=True)
class Written:
    """What came of it: the draft, and the files, in the order to look at them."""

    draft: Draft
    files: list[Path]


def first_study(
    asked: Asked,
    store: Store,
    machine: Machine,
    tell: Callable[[str], None],
    prepare: Callable[[models.Model], models.Model] = lambda model: model,
) -> Written:
    """Look at files and write a first study.

    Args:
        asked: What the user wants.
        store: Where a prepared model and earlier measurements are found.
        machine: What the study can count on.
        tell: Told what is done now.
        prepare: Called with a model that is installed but not ready, so that rows are counted in its tokens.

    Raises:
        RequestError: Something is not understood, too small, or already there. Nothing was written.
    """
    base, data = asked.out.absolute().parent, out.data_folder(asked.out)
    out.check(asked.out, force=asked.force)
    _check(asked)
    study = asked.name or re.sub(r"[^A-Za-z0-9._-]+", "-", asked.out.stem).strip("-._")[:60] or "study"
    model = relative(asked.model, base) if Path(asked.model).is_dir() else asked.model
    ready = models.resolve(model, base, store)
    arguments, tested = splits(asked.files, asked.eval)
    for path in (*(path for _, paths in arguments for path in paths), *tested):
        if Path(path).absolute().is_relative_to(data.absolute()):
            raise RequestError(f"{path} is in {data}, where this writes; choose another name with --out")
    pools = [look(name, given, base, asked.fields, tell) for name, given in named(arguments, base).items()]
    _alike(pools)
    held = _held(asked, pools, tested, base, tell)
    available, rule = _left(pools, held, tell)
    chat = any(pool.rows["messages"].null_count() < pool.rows.height for pool in pools)
    if ready.kind == "embedded" and ready.folder is None:
        ready = prepare(ready)
    lengths = _lengths(pools, ready.folder, chat)
    if ready.folder is None:
        pools[0].findings.append(
            f"{model} is not on this machine yet: the lengths of rows are assumed, {CHARACTERS_PER_TOKEN:g} characters "
            "a token; harness plan counts them once it is here"
        )
    mean, packed = statistics.fmean(lengths), 1.0
    if pools[0].objective.packed:
        packed, lengths = BLOCK / mean, [BLOCK]
    characters = held.characters if held else 20_000

    def sized(filters: int) -> Size:
        try:
            return size(available, lengths, characters, filters, machine, asked.minutes, packed)
        except RequestError as error:
            raise RequestError(f"{error}{_unusable(pools)}") from error

    candidates = _candidates(pools)
    filters = _filters(candidates, pools, held, sized(len(candidates)).mix)
    chosen, left = sized(len(filters)), []
    while len(filters) > (len(pools) == 1) and chosen.seconds > 60 * asked.minutes:
        left.append(filters.popitem()[0])  # seeds before arms: an arm that cannot be judged is no use
        chosen = sized(len(filters))
    if left:
        pools[0].findings.append(f"arms left away, because there is no time for them: {', '.join(reversed(left))}")
    _long(pools, lengths, chosen.max_length)
    written = {
        pool.name: pool.source.model_copy(update={"path": f"{data.name}/train/{pool.name}.jsonl"})
        if _copied(pool, held)
        else pool.source.model_copy(update={"on_bad_row": "drop" if pool.unusable else "stop"})
        for pool in pools
    }
    suite = f"{data.name}/{TASK}" if held else relative(str(asked.suite), base)
    metric = f"{TASK}/{held.metric}" if held else _metric(asked)
    draft = Draft(
        study, model, pools, written, available, held, suite, metric, chosen, machine, filters, chat, mean, rule
    )
    tell("Writing")
    return Written(draft, _write(draft, asked, data))


# --------------------------------------------------------------------------------------------------------- reading


def _check(asked: Asked) -> None:
    if asked.name is not None and not NAME.match(asked.name):
        raise RequestError(f"--name: {NO_NAME.format(asked.name)}")
    if asked.metric is not None and (asked.suite is None or asked.metric.count("/") != 1):
        raise RequestError("--metric: goes with --suite, and is written TASK/METRIC, such as sums/exact_match")
    if asked.suite is not None and not asked.suite.is_file():
        trouble = outside.problem(asked.suite)
        raise RequestError(f"--suite: {asked.suite} {trouble}" if trouble else f"--suite: {asked.suite}: no such file")
    if asked.suite is not None and asked.eval is not None:
        raise RequestError("--suite and --eval: items come from one of them")


def _alike(pools: Sequence[Pool]) -> None:
    """Refuse sources that no one objective can use; tell what they share."""
    first = pools[0]
    one = first.objective.name
    for pool in pools[1:]:
        if (other := pool.objective.name) != one:
            raise RequestError(
                f"{first.name} is for objective {one} and {pool.name} for {other}; a study trains "
                "one objective: call harness init for each kind, or say what the columns are with --field"
            )
        shared = len(set(first.rows["row_id"]) & set(pool.rows["row_id"]))
        if shared:
            pool.findings.append(f"{shared:,} rows are in {first.name} as well")


def _held(
    asked: Asked, pools: Sequence[Pool], tested: tuple[str, ...], base: Path, tell: Callable[[str], None]
) -> HeldOut | None:
    if asked.suite is not None:
        return None
    if not tested:
        return heldout.carve(pools, asked.minutes)
    own = look("test", source(tested[0], tested, base, "test"), base, asked.fields, tell)
    _alike([pools[0], own])
    return heldout.given(own)


def _left(
    pools: Sequence[Pool], held: HeldOut | None, tell: Callable[[str], None]
) -> tuple[dict[str, int], Decontaminate]:
    """Return how many rows of each source will train, and the rule by which copies of items are told.

    Rows from a template are edited copies of each other, all of them: there only verbatim overlap tells one question
    from another.
    """
    usual, verbatim = Decontaminate(), Decontaminate(fuzzy=None, semantic=None)
    if held is None:
        return _available(pools, held, usual, tell), usual
    found = [list(pool.findings) for pool in pools]
    candidates = sum(pool.rows.height - len(held.taken.get(pool.name, ())) for pool in pools)
    try:
        counts = _available(pools, held, usual, tell)
    except RequestError:
        counts = {}
    if sum(counts.values()) >= candidates / 2:
        return counts, usual
    for pool, findings in zip(pools, found, strict=True):
        pool.findings[:] = findings
    counts = _available(pools, held, verbatim, tell)
    pools[0].findings.append(
        "rows are worded so much alike that most would pass for edited copies of held-out items; only those that "
        "overlap one word for word are removed (decontaminate)"
    )
    return counts, verbatim


def _available(
    pools: Sequence[Pool], held: HeldOut | None, rule: Decontaminate, tell: Callable[[str], None]
) -> dict[str, int]:
    """Return how many rows of each source will train: without those held out, and without copies of them."""
    counts = {}
    for pool in pools:
        out = held.taken.get(pool.name, set()) if held else set()
        rows = pool.rows.filter(~pl.Series(at in out for at in range(pool.rows.height)))
        if held is not None:
            tell(f"Looking for the held-out items in {pool.name}")
            own = pool.rows if pool.source.hub else rows
            found = contamination.removable(contamination.overlaps(own, heldout.items(held), rule), rule)
            touched = set(found["row_id"])
            missed = [at for at in out if pool.source.hub and pool.rows["row_id"][at] not in touched]
            if missed:
                raise RequestError(
                    f"{pool.name}: {len(missed)} items cannot be kept out of a dataset of the Hub; download it and "
                    "give its files"
                )
            copies = int(rows["row_id"].is_in(list(touched)).sum())
            rows = rows.filter(~pl.col("row_id").is_in(list(touched)))
            if copies:
                pool.findings.append(f"rows that overlap held-out items, which decontamination removes: {copies:,}")
        counts[pool.name] = rows.height
        if not rows.height:
            raise RequestError(
                f"{pool.name}: all {pool.rows.height:,} rows were held out, or repeat what was; leave the file away, "
                "or test on other questions with --eval"
            )
    return counts


# ---------------------------------------------------------------------------------------------------------- sizing


def _lengths(pools: Sequence[Pool], folder: Path | None, chat: bool) -> list[int]:
    """Return tokens of a sample of rows: counted where the model is ready, else from their characters."""
    lengths: list[int] = []
    encoder = None
    if folder is not None:
        encoder = RowEncoder(folder, chat_template=chat, max_length=UNCUT, objective=pools[0].objective.name)
    for pool in pools:
        some = pool.rows.gather_every(max(1, pool.rows.height // COUNTED)).head(COUNTED)
        if encoder is not None:
            lengths += [encoder.encode(row).length for row in some.iter_rows(named=True)]
        else:
            texts = pool.parts["whole row"].gather_every(max(1, pool.rows.height // COUNTED)).head(COUNTED)
            lengths += [math.ceil(len(one) / CHARACTERS_PER_TOKEN) + 2 for one in texts]
    return lengths


def _unusable(pools: Sequence[Pool]) -> str:
    """Say how many rows are of no use, and why the first is: perhaps that is why there are too few."""
    count = sum(len(pool.unusable) for pool in pools)
    if not count:
        return ""
    place, reason = next(iter(next(pool.unusable for pool in pools if pool.unusable).items()))
    return f" ({'1 more is' if count == 1 else f'{count:,} more are'} of no use; the first, {place}: {reason})"


def _long(pools: Sequence[Pool], lengths: Sequence[int], limit: int) -> None:
    over = sum(length > limit for length in lengths)
    if over and not pools[0].objective.packed:
        share = f"about {over / len(lengths):.0%} of all rows"
        pools[0].findings.append(f"{share} are longer than {limit} tokens and are cut")


def _candidates(pools: Sequence[Pool]) -> dict[str, Any]:
    """Return the operations worth an arm, as a study writes them: any for one source, what fits all for several."""
    order = ("verified", "deduped", "cleaned", "shorter")
    found: dict[str, Any] = {}
    fitting = {"deduped"} | ({"verified"} if all("answer" in pool.source.fields for pool in pools) else set())
    for pool in pools:
        for name, written in pool.dropping.items():
            if len(pools) == 1 or name in fitting:
                found.setdefault(name, written)
    ranked_names = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
    return {name: found[name] for name in ranked_names[: MOST_FILTERS[len(pools) == 1]]}


def _filters(
    candidates: Mapping[str, Any], pools: Sequence[Pool], held: HeldOut | None, mix: Mapping[str, int]
) -> dict[str, tuple[Any, float]]:
    """Return the operations that change something of a draw as large as the baseline's, and the share they drop."""
    drawn = []
    for pool in pools:
        out = held.taken.get(pool.name, set()) if held else set()
        order = [at for at in ranked(pool.rows, 1, pool.name) if at not in out]
        drawn.append(pool.rows[order[: mix.get(pool.name, 0)]])
    rows = pl.concat(drawn)
    kept = {}
    for name, written in candidates.items():
        applied = operations.apply(rows, _operation(written), operations.Context(place="init", seed=0))
        dropped = applied.drops.height / rows.height
        if affected(rows, applied) >= LEAST_DROPPED * rows.height and dropped <= MOST_DROPPED:
            kept[name] = (written, dropped)
    return kept


def _operation(written: Any) -> Any:
    from pydantic import TypeAdapter

    from harness.spec import Operation

    return TypeAdapter(Operation).validate_python(operation(written))


def _metric(asked: Asked) -> str:
    """Return what decides on a suite of the user's."""
    assert asked.suite is not None
    if asked.metric:
        return asked.metric
    try:
        suite = Suite.model_validate(yaml.safe_load(asked.suite.read_text(encoding="utf-8")))
    except (ValueError, yaml.YAMLError) as error:
        raise RequestError(f"--suite: {asked.suite} is not a suite: {str(error).splitlines()[0]}") from error
    name, task = next(iter(suite.tasks.items()))
    metric = task.metric or ("exact_match" if task.generator else None)
    if metric is None:
        raise RequestError(f"--metric is needed: {asked.suite} does not say what counts in {name} (such as {name}/acc)")
    return f"{name}/{metric}"


# --------------------------------------------------------------------------------------------------------- writing


def _copied(pool: Pool, held: HeldOut | None) -> bool:
    """Tell whether a source is written anew: without the rows that are held out, or cannot be used."""
    return not pool.source.hub and bool((held.taken.get(pool.name) if held else None) or pool.unusable)


def _write(draft: Draft, asked: Asked, data: Path) -> list[Path]:
    """Write everything beside its place and move it there at the end."""
    content = out.editor_line(asked.out) + text(draft)
    whole = yaml.safe_load(content)
    if draft.held is None:
        assert asked.suite is not None
        whole["suite"] = yaml.safe_load(asked.suite.read_text(encoding="utf-8"))
    designs.expand(Study.model_validate(whole))  # what is written must be a study
    with tempfile.TemporaryDirectory(dir=asked.out.absolute().parent, prefix=f".{asked.out.stem}-") as scratch:
        made = Path(scratch) / data.name
        for pool in draft.pools:
            if _copied(pool, draft.held):
                (made / "train").mkdir(parents=True, exist_ok=True)
                files.write(_rest(pool, draft.held), made / "train" / f"{pool.name}.jsonl")
        if draft.held is not None:
            (made / TASK).mkdir(parents=True, exist_ok=True)
            files.write(draft.held.docs, made / TASK / f"{TASK}.jsonl")
            config = heldout.task(task_name(draft.study), draft.held)
            (made / TASK / f"{TASK}.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        (Path(scratch) / asked.out.name).write_text(content, encoding="utf-8")
        for part in ("train", TASK):  # only what an earlier call wrote: the folder may hold other things
            if (data / part).exists():
                shutil.rmtree(data / part)
            if (made / part).exists():
                data.mkdir(exist_ok=True)
                (made / part).rename(data / part)
        out.write_schema(asked.out)
        (Path(scratch) / asked.out.name).replace(asked.out)
    return [asked.out, *sorted(path for part in ("train", TASK) for path in (data / part).glob("*.jsonl"))]


def _rest(pool: Pool, held: HeldOut | None) -> Iterator[dict[str, Any]]:
    """Yield the records of a source that may train, with all their columns."""
    out = held.taken.get(pool.name, set()) if held else set()
    kept = {place(row) for at, row in enumerate(pool.rows.iter_rows(named=True)) if at not in out}
    for record in sources.records(pool.name, pool.source, pool.base):
        if record.value is not None and record.place in kept:
            yield {str(column): _plain(value) for column, value in record.value.items()}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: what parquet holds besides (dates, decimals, bytes) as text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | bool | int) else str(value)
