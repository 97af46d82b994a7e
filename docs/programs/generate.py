"""Writes the generated parts of the documentation: ``python -m docs.programs.generate``.

A generated part is the text between ``<!-- KIND:begin NAME -->`` and ``<!-- KIND:end -->``, which is
replaced. With ``--check`` nothing is written and the exit code is 1 if a page is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from docs.programs.timing import DIAGRAMS
from rtl.flows.fpga.measured import DATE, MEASURED, OTHERS, TARGET, TOOLS, Measurement, package_clock_mhz
from rtl.spec.buses import FRONT_ENDS
from rtl.spec.params import RLUParams, clear_cycles, reward_cycles, sample_cycles, share_cycles, update_cycles
from rtl.spec.registers import markdown
from sim.devices.device import GoldenDevice
from sim.devices.driver import Driver
from sim.devices.objective import Objective
from tb.bugs import catalogue as bugs
from tb.proofs import catalogue as proofs

DOCS = Path(__file__).parents[1]
_PART = re.compile(r"(<!-- (\w+):begin ([\w-]+) -->\n).*?(<!-- \2:end -->)", re.DOTALL)


class Score(NamedTuple):
    """One of the published policies, its published score and the golden unit's score."""

    name: str
    accuracy: float
    latency_ms: float
    energy_uj: float
    weights: tuple[float, float, float]
    published: float
    computed: float


def published_scores() -> Iterator[Score]:
    """Scores of the published measurements from the golden reward calculator, through the driver."""
    table = json.loads((DOCS.parent / "algo" / "published" / "evolver.json").read_text())
    for entry in table["measurements"]:
        if "score" not in entry:
            continue
        a, b, c = entry["weights_abc"]
        driver = Driver(GoldenDevice(RLUParams()))
        # One of the published policies has exactly the limiting accuracy, so there is no limit here.
        objective = Objective(weight_a=a, weight_l=b, weight_e=c, accuracy_th=0.0)
        driver.configure(action_counts=(3,) * 8 + (9,), seed=1, objective=objective)
        driver.is_outlier(entry["latency_ms"], entry["energy_uj"])
        reward = driver.reward(entry["accuracy"]) / 2**driver.params.q_frac
        yield Score(
            entry["name"],
            entry["accuracy"],
            entry["latency_ms"],
            entry["energy_uj"],
            (a, b, c),
            entry["score"],
            reward,
        )


def _scores() -> str:
    lines = [
        "| policy | A | L, ms | E, uJ | a, b, c | published score | computed | difference | aA - bL - cE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for s in published_scores():
        cells = (
            s.name,
            f"{s.accuracy:.4f}",
            f"{s.latency_ms:.2f}",
            f"{s.energy_uj:.2f}",
            ", ".join(f"{weight:.2f}" for weight in s.weights),
            f"{s.published:.3f}",
            f"{s.computed:.4f}",
            f"{s.computed - s.published:+.4f}",
            f"{s.computed - s.weights[1] - s.weights[2]:+.4f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cycles() -> str:
    small, large = RLUParams(states=9, actions=9), RLUParams()
    rows: tuple[tuple[str, str, Callable[[RLUParams], int]], ...] = (
        ("clear", "`N + 2`", clear_cycles),
        ("reward", "`q_width + 21`", reward_cycles),
        ("write of REWARD or STATES", "`q_width + 5`", share_cycles),
        ("update", "`T + 9`", lambda p: update_cycles(p.states)),
        ("sample", "`T + 8`", lambda p: sample_cycles(p.states)),
    )
    lines = ["| job | cycles | T = N = 9 | T = N = 256 |", "| --- | --- | --- | --- |"]
    lines += [f"| {job} | {formula} | {count(small)} | {count(large)} |" for job, formula, count in rows]
    return "\n".join(lines) + "\n"


def _placements() -> str:
    lines = [
        "| options | states x actions | LUTs | flip-flops | block RAMs | Fmax | seeds 1, 2, 3 |",
        "|---|---|---|---|---|---|---|",
    ]
    for m in MEASURED:
        if m.design.target == TARGET:
            seeds = ", ".join(f"{mhz:.1f}" for mhz in m.fmax_mhz)
            area = f"{m.luts:,} | {m.flip_flops:,} | {m.block_rams}"
            size = f"{m.design.states} x {m.design.actions}"
            lines.append(f"| `{m.design.options}` | {size} | {area} | {m.median_mhz:.1f} | {seeds} |")
    return "\n".join(lines) + "\n"


def _clock(m: Measurement) -> str:
    return f"{m.median_mhz:.1f}" if m.fmax_mhz else "-"


def _found(**wanted: object) -> list[Measurement]:
    """What was measured of designs with these attributes."""
    return [m for m in MEASURED if all(getattr(m.design, name) == value for name, value in wanted.items())]


def _front_ends() -> str:
    """Front end by family: latency, and MHz and LUTs."""
    units = (
        ("ECP5: 256 x 16", {"target": TARGET, "technology": "ecp5", "states": 256}),
        ("ECP5: planning, 16 x 16", {"target": TARGET, "technology": "ecp5", "points": 9}),
        *((f"{target}: 16 x 4", {"target": target}) for target in OTHERS),
    )
    lines = [
        f"| `--bus` | latency, cycles | cycles an access | {' | '.join(title for title, _ in units)} |",
        "|---|---|---|" + "---|" * len(units),
    ]
    for one in FRONT_ENDS:
        figures = []
        for _, wanted in units:
            found = _found(bus=one.name, **wanted)
            figures += [f"{_clock(m)} MHz, {m.luts:,}" if m.fmax_mhz else f"{m.luts:,}" for m in found[:1]] or ["-"]
        cycles = f"{one.latency_cycles} | {one.interval_cycles}"
        lines.append(f"| `{one.name}` | {cycles} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def _clocks() -> str:
    """The clocks of README.md: each bus, published and planning."""
    lines = ["| `--bus` | published unit, 256 x 16 | planning unit, 16 x 16 |", "|---|---|---|"]
    for one in FRONT_ENDS:
        cells = []
        for wanted in ({"states": 256}, {"points": 9}):
            found = _found(bus=one.name, target=TARGET, technology="ecp5", **wanted)
            cells.append(" ".join(f"{m.median_mhz:.1f} MHz, {m.luts:,} LUTs" for m in found) or "not measured")
        lines.append(f"| `{one.name}` ({one.title}) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _plain_clocks() -> str:
    """Clocks of README.md without the FPGA's own cells."""
    published, planning = (
        f"{m.median_mhz:.1f} MHz"
        for wanted in ({"states": 256}, {"points": 9})
        for m in _found(bus="axi4lite", target=TARGET, technology="generic", **wanted)
    )
    return (
        "Plain Verilog, which is the default, is for any FPGA. On this one, behind AXI4-Lite, the published unit then\n"
        f"reaches {published} and the planning unit {planning}.\n"
    )


def _measured_when() -> str:
    tools = ", ".join(f"{name} {version}" for name, version in sorted(TOOLS.items()))
    return f"Measured on {DATE} with {tools}.\n"


def _package_clocks() -> str:
    lines = ["| unit | plain Verilog | `--technology ecp5` |", "| --- | --- | --- |"]
    for kind, unit in (("published", "without episodes"), ("remembering", "with `--episodes`, also one that plans")):
        clocks = [package_clock_mhz(technology, kind) for technology in ("generic", "ecp5")]
        lines.append(f"| {unit} | {clocks[0]:g} MHz | {clocks[1]:g} MHz |")
    return "\n".join(lines) + "\n"


def _diagram(draw: Callable[[], str]) -> str:
    return f"```text\n{draw()}\n```\n"


#: Every generated part, by kind and name.
PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("table", "registers"): lambda: markdown(RLUParams()),
    ("table", "published-scores"): _scores,
    ("table", "bugs"): bugs.markdown,
    ("table", "proofs"): proofs.markdown,
    ("table", "cycles"): _cycles,
    ("table", "placements"): _placements,
    ("table", "package-clocks"): _package_clocks,
    ("table", "front-ends"): _front_ends,
    ("table", "clocks"): _clocks,
    ("text", "plain-clocks"): _plain_clocks,
    ("text", "measured"): _measured_when,
    **{("timing", name): partial(_diagram, draw) for name, draw in DIAGRAMS.items()},
}


def refreshed(text: str) -> str:
    """A page with its generated parts made again; KeyError for an unknown part."""
    return _PART.sub(lambda part: part[1] + PARTS[part[2], part[3]]() + part[4], text)


def outdated() -> dict[Path, str]:
    """Pages whose generated parts are out of date, with the text that they should have."""
    names = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "README.md"]
    pages = ((page, page.read_text(encoding="utf-8")) for page in names)
    return {page: new for page, old in pages if (new := refreshed(old)) != old}


def main() -> int:
    """Write, or with ``--check`` only name, the pages that are out of date."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if a page is out of date")
    check = parser.parse_args().check
    pages = outdated()
    for page, text in pages.items():
        print(f"{page.relative_to(DOCS.parent)} {'is out of date' if check else 'written'}")
        if not check:
            page.write_text(text, encoding="utf-8")
    return int(check and bool(pages))


if __name__ == "__main__":
    sys.exit(main())
