"""``harness power``: the effect that a study of a given size can detect, from given or measured noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, print_json
from harness.cli.schemas import json_schema

if TYPE_CHECKING:
    from harness.records import Power


def power(
    study: Annotated[
        Path | None,
        typer.Argument(metavar="[STUDY]", help="take size and noise from this study, at best a finished one"),
    ] = None,
    store: StorePlace = DEFAULT_STORE,
    seed_sd: Annotated[float | None, typer.Option(min=0, help="SD over seeds of a run's mean on endless items")] = None,
    item_sd: Annotated[
        float | None, typer.Option(min=0, help="SD over items of an item's effect on a difference at every seed")
    ] = None,
    residual_sd: Annotated[
        float | None, typer.Option(min=0, help="SD of an item's effect on a difference at one seed")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="seeds per arm", show_default="3")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="items that decide", show_default="200")] = None,
    arms: Annotated[
        int | None, typer.Option(min=2, help="arms, baseline and controls included", show_default="4")
    ] = None,
    comparisons: Annotated[int | None, typer.Option(min=1, help="questions that share alpha", show_default="1")] = None,
    effect: Annotated[float | None, typer.Option(help="smallest effect that matters", show_default="0.05")] = None,
    alpha: Annotated[float | None, typer.Option(help="family-wise level", show_default="0.05")] = None,
    target: Annotated[float, typer.Option("--power", help="probability of finding the effect")] = 0.8,
    json: AsJson = False,
    json_schema: Annotated[bool, json_schema("Power")] = False,
) -> None:
    """Print which effects a study can detect, and how many seeds or items find the smallest that matters.

    Without STUDY the options give size and noise; with STUDY, options that are left out come from the study and its
    store.
    """
    from harness.errors import RequestError
    from harness.forecast.power import Noise, prior
    from harness.forecast.power import power as compute
    from harness.spec import Decide

    for name, value, low, high in (
        ("--alpha", alpha, 0.0, 0.5), ("--power", target, 0.0, 1.0), ("--effect", effect, 0.0, math.inf),
    ):  # fmt: skip
        if value is not None and not low < value < high:
            raise RequestError(f"{name}: {value:g} is not between {low:g} and {high:g}")
    noise: Noise | None = prior()
    if study is None:
        confirmation, seconds = 0.0, None
        size = {"seeds": 3, "items": 200, "arms": 4, "comparisons": 1}
        level, smallest = 0.05, 0.05
        judged, twin = Decide.model_fields["noise"].default, True
    else:
        from harness.forecast.cost import cost
        from harness.forecast.power import planned_power, planning_noise
        from harness.session import open_study

        opened = open_study(study, store=store)
        engine, made = opened.engine, opened.resolved()
        noise = planning_noise(made)
        seconds = cost(made, engine.slots.workers, engine.slots.device).seconds_per_seed
        planned = planned_power(made, noise, seconds)
        judged, twin = made.study.decide.noise, "aa" in made.study.controls
        confirmation, level, smallest = made.study.suite.confirmation, planned.alpha, planned.smallest_effect
        size = {name: getattr(planned, name) for name in ("seeds", "items", "arms", "comparisons")}
    given = {"seed_sd": seed_sd, "item_sd": item_sd, "residual_sd": residual_sd}
    known = {name: value for name, value in given.items() if value is not None}
    rest = [name for name in given if name not in known]
    if noise is None and rest and known:
        lacking = ", ".join(f"--{name.replace('_', '-')}" for name in rest)
        raise RequestError(f"{lacking}: missing; the noise of {made.study.decide.metric} has not been measured yet")
    if known:
        source = "variances as given" + (f"; {', '.join(rest)}: {noise.source}" if rest and noise else "")
        sds = [known[name] if name in known else float(getattr(noise, name)) for name in given]
        noise = Noise(sds[0], sds[1], sds[2], source)
    if noise is None:
        others = {"--seeds": seeds, "--items": items, "--arms": arms, "--comparisons": comparisons, "--effect": effect}
        if asked_for := [name for name, value in others.items() if value is not None]:
            raise RequestError(
                f"{asked_for[0]}: nothing can be computed, since the noise of {made.study.decide.metric} has not been "
                "measured yet; run the study to its first look, or give --seed-sd, --item-sd and --residual-sd"
            )
        show_or_print(planned, json)
        return
    asked = {"seeds": seeds, "items": items, "arms": arms, "comparisons": comparisons}
    size |= {name: value for name, value in asked.items() if value is not None}
    found = compute(
        noise, seeds=size["seeds"], items=size["items"], arms=size["arms"], comparisons=size["comparisons"],
        smallest_effect=effect or smallest, alpha=alpha or level, confirmation=confirmation,
        target=target, seconds_per_seed=seconds, judged=judged, twin=twin,
    )  # fmt: skip
    show_or_print(found, json)


def show_or_print(found: Power, json: bool) -> None:
    """Print the answer as JSON, or for people."""
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        show(found)


def show(found: Power) -> None:
    """Print the answer in a sentence, then the effects that more seeds can detect."""
    from harness.terminal import tables

    out = tables.console()
    out.print(tables.markup(found.text[0].upper() + found.text[1:]) + ".")
    if found.seed_sd is None:
        return
    out.print()
    rows = [
        [str(at.seeds), "no verdict" if at.minimum_effect is None else f"{at.minimum_effect:.3f}"]
        for at in found.by_seeds
    ]
    out.print(tables.table([("Seeds", "right"), ("Smallest effect seen", "right")], rows))
    sds = f"seed SD {found.seed_sd:.3g}, item SD {found.item_sd:.3g}, residual SD {found.residual_sd:.3g}"
    out.print(f"\n{found.items:,} items, {found.arms} arms, {found.comparisons} comparisons, {sds}")
