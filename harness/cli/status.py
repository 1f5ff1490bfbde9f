"""``harness status``: the state of every run, derived from the store."""

from __future__ import annotations

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, print_json


def status(study: StudyFile, store: StorePlace = DEFAULT_STORE, json: AsJson = False) -> None:
    """Show every run of a study: done, trained (not yet evaluated), failed (and why), to do or not needed.

    After a look of a study with stages, or when all is done: the verdicts, and what would settle the open ones.
    """
    from harness.errors import HarnessError
    from harness.session import open_study

    session = open_study(study, store=store)
    made, decided, problem = session.staged(), None, ""
    try:
        decided = session.decided()
    except HarnessError as error:  # the states are known nevertheless
        problem = str(error)
    failures = {run.key: made.store.failure(run.key) for run in made.runs if run.state == "failed"}
    if json:
        print_json(
            {
                "study": made.study.study,
                "runs": [
                    {"variant": r.variant, "seed": r.seed, "key": r.key, "state": r.state}
                    | ({"stage": f.stage, "message": f.message} if (f := failures.get(r.key)) else {})
                    for r in made.runs
                ],
                "verdicts": {} if decided is None else {one.subject: one.verdict for one in decided.decisions},
                "withheld": "" if decided is None else decided.why_withheld(),
                "advice": "" if decided is None else decided.advice,
                "problem": problem,
            }
        )
        return
    from harness.terminal import tables

    out = tables.console()
    seeds = made.study.seed_list()
    rows = []
    for variant in made.variants:
        states = {r.seed: r.state for r in made.runs if r.variant == variant.name}
        rows.append([variant.name, *(states[seed] for seed in seeds)])
    out.print(tables.table([("Variant", "left"), *((f"seed {seed}", "left") for seed in seeds)], rows))
    for run in made.runs:
        failure = failures.get(run.key)
        if failure is not None:
            out.print(f"{run.variant}/seed {run.seed} failed while {failure.stage}: {tables.markup(failure.message)}")
    done = sum(r.state == "done" for r in made.runs)
    out.print(f"\n{done} of {len(made.runs)} runs done")
    if problem:
        out.print(tables.markup(f"Not decided: {problem}"))
    if decided is None:
        return
    verdicts = "; ".join(f"{one.subject} {one.verdict}" for one in decided.decisions)
    for text in filter(None, (decided.why_withheld() or verdicts, decided.stages_in_words(), decided.advice)):
        out.print(tables.markup(text))
