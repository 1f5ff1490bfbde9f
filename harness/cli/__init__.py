"""The command line: one file per verb. Only light modules are imported here, so that ``--help`` is instant."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import (
    compare,
    data,
    decide,
    doctor,
    grow,
    init,
    mixtures,
    plan,
    power,
    report,
    run,
    schema,
    stats,
    status,
    store,
    sync,
    ui,
)

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Find out which fine-tuning data helps. A [b]study[/b] names data sources and the variants to compare; "
        "the harness builds each variant, LoRA-finetunes a small model on it, evaluates it on a held-out, "
        "decontaminated suite, and says which data to GROW, HOLD or CUT.\n\n"
        "Typical order: [b]init[/b] (a first study from your files), [b]plan[/b] (what will happen, what it costs), "
        "[b]run[/b] (resumes after any interruption), [b]decide[/b], [b]report[/b] (one page to send), [b]ui[/b]."
    ),
    epilog="Environment: HARNESS_STORE (default ./.harness), MLFLOW_TRACKING_URI, HF_HUB_OFFLINE. "
    "Exit codes: 0 done, 1 something failed (the rest is kept), 2 wrong request. --debug shows tracebacks.",
)
app.command("init")(init.init)
app.command("plan")(plan.plan)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("compare")(compare.compare)
app.command("decide")(decide.decide)
app.command("grow")(grow.grow)
app.command("report")(report.report)
app.command("power")(power.power)
app.command("sync")(sync.sync)
app.command("ui")(ui.ui)
app.command("doctor")(doctor.doctor)
app.command("schema")(schema.schema)
app.add_typer(stats.app, name="stats")
app.add_typer(mixtures.app, name="mixtures")
app.add_typer(store.app, name="store")
app.add_typer(data.app, name="data")


def _version(asked: bool) -> None:
    if asked:
        from harness import __version__

        print(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and leave")
    ] = False,
) -> None:
    pass
