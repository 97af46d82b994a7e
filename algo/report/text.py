"""Text about runs: several side by side, and the command that makes one again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from algo.report.facts import RunFacts
from algo.report.page import trainings
from algo.support.figures import shown_cost
from algo.support.settings import flat


def side_by_side(runs: Sequence[RunFacts]) -> str:
    """What each run tried, trained and found, as a Markdown table; an unfinished run found nothing yet."""
    lines = [
        "| run | tried | trained | below the accuracy threshold | deployed | accuracy | latency ms | energy uJ "
        "| score |",
        "| --- |" + " --- |" * 8,
    ]
    for run in runs:
        tried = f"| {run.label} | {len(run.steps)} | {trainings(run)} | {run.count('inaccurate')} |"
        if run.savings is None:
            lines.append(f"{tried} unfinished | | | | |")
            continue
        found = run.savings.found
        energy = "unavailable" if found.energy_uj is None else shown_cost(found.energy_uj)
        lines.append(
            f"{tried} {run.found_name} | {found.accuracy:.3f} | {shown_cost(found.latency_ms)} | {energy} "
            f"| {found.score:.3f} |"
        )
    return "\n".join(lines)


def repeat(command: Sequence[str], config: object) -> str:
    """The command that runs again, without the settings that have their defaults."""
    usual = flat(type(config)())
    given = {name: value for name, value in flat(config).items() if value is not None and value != usual[name]}
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join([*command, *words])
