"""``harness plan``: what a run would do, before it costs anything."""

from __future__ import annotations

from harness.cli.arguments import (
    DEFAULT_STORE,
    Address,
    AsJson,
    Device,
    EngineName,
    StorePlace,
    StudyFile,
    Workers,
    print_json,
)


def plan(
    study: StudyFile,
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    workers: Workers = None,
    device: Device = None,
    on: EngineName = "local",
    address: Address = None,
) -> None:
    """Show a study's variants with rows and tokens, its finished and remaining runs, its power and its cost.

    Builds the datasets (a run needs them, and they are kept), but trains and evaluates nothing.
    """
    from harness.session import open_study

    planned = open_study(study, store=store, engine=on, workers=workers, device=device, address=address).plan()
    if json:
        print_json(planned.as_json())
        return
    from harness.terminal import tables
    from harness.terminal.plan import show, show_packing

    out = tables.console()
    show(planned.plan, planned.forecast, out)
    if on != "local":
        show_packing(planned.packed, planned.makespan, out)
