"""How to get the same numbers again: commands, the whole study, digests, versions, hardware."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from harness.records import StudyView
from harness.report.model import Reproduce
from harness.study.plan import Plan

ENVIRONMENT = ("commit", "python", "device", "hardware")


def reproduce(plan: Plan, view: StudyView) -> Reproduce:
    """Return everything needed to make the study's results again.

    Files are given by name only, without their folders: a report may leave the machine.
    """
    file = plan.loaded.file.name
    runs = [run.provenance for run in view.runs if run.provenance]
    packages = [one["packages"] for one in runs if isinstance(one.get("packages"), dict)]
    times = sorted(str(one["created"]) for one in runs if one.get("created"))
    seconds, tokens = ([run.training.get(name) for run in view.runs] for name in ("seconds", "tokens"))
    versions = {name: _distinct(one.get(name) for one in packages) for name in sorted({n for p in packages for n in p})}
    surroundings = {name: _distinct(one.get(name) or "-" for one in runs) for name in ENVIRONMENT}
    return Reproduce(
        commands=[f"harness run {file}", f"harness report {file}"],
        file=file,
        resolved=_yaml(plan.study.identity()),
        digests=_digests(plan, view),
        packages=versions,
        environment={name: values for name, values in surroundings.items() if values not in ("", "-")},
        began=times[0] if times else "",
        ended=times[-1] if times else "",
        training_seconds=_sum(seconds),
        training_tokens=None if (total := _sum(tokens)) is None else round(total),
    )


def _digests(plan: Plan, view: StudyView) -> dict[str, str]:
    found = {"study": view.key}
    found |= {"decision rule": view.decisions.rule_digest} if view.decisions else {}
    found |= {
        "model": plan.model.digest,
        f"suite {view.suite}": view.suite_digest,
    }
    found |= {f"pool {name}": pool.digest for name, pool in plan.pools.items()}
    for variant in view.variants:
        different = sorted(set(variant.digests.values()))
        for seed, content in variant.digests.items():
            name = f"rows of {variant.name}" + (f", seed {seed}" if len(different) > 1 else "")
            found[name] = content
    return found


def _yaml(value: Any) -> str:
    """Return YAML that reads back as the same study; long texts are folded, nothing is sorted."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _distinct(values: Iterable[Any]) -> str:
    return " and ".join(sorted({"-" if value is None else str(value) for value in values}))


def _sum(values: Iterable[Any]) -> float | None:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return sum(numbers) if numbers else None
