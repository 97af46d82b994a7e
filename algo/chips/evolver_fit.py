"""Fits the constants of the Evolver model to what was published: ``python -m algo.chips.evolver_fit``.

It prints the constants for ``algo/published/evolver.json`` and the two tables of docs/understand/evolver-model.md.
Needs scipy; using the model does not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields

from algo.chips.evolver import ChipConstants, EvolverChip
from algo.published.evolver import published_measurements

# What we consider possible for a small 28 nm accelerator that keeps its data on the chip (our reading, not
# published). Without such bounds, five measurements cannot determine five constants with such similar effects.
PLAUSIBLE = ChipConstants(64, 6.4, 0.02, 0.5, 0.02), ChipConstants(1024, 102.4, 1.0, 10.0, 2.0)


def fit_constants() -> ChipConstants:
    """Fit the constants to the published latencies and energies, each error relative to what was measured.

    Bounded least squares on the logarithms of model over measurement, within `PLAUSIBLE`; needs scipy.
    """
    import numpy as np
    from scipy.optimize import least_squares

    measurements = published_measurements()
    names = [field.name for field in fields(ChipConstants)]

    def constants(logarithms: Sequence[float]) -> ChipConstants:
        return ChipConstants(**dict(zip(names, np.exp(logarithms).tolist(), strict=True)))

    def residuals(logarithms: Sequence[float]) -> list[float]:
        chip = EvolverChip(constants=constants(logarithms))
        modelled = [chip.measure(m.policy) for m in measurements]
        ratios = [m.latency_ms / p.latency_ms for m, p in zip(modelled, measurements, strict=True)]
        ratios += [m.energy_uj / p.energy_uj for m, p in zip(modelled, measurements, strict=True)]
        return np.log(ratios).tolist()  # type: ignore[no-any-return]

    low, high = (np.log(list(asdict(bound).values())) for bound in PLAUSIBLE)
    # Logarithms keep constants positive and on one scale; the middle of the box is far from both its ends.
    result = least_squares(residuals, (low + high) / 2, bounds=(low, high), xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return constants(result.x)


def residual_table(constants: ChipConstants | None = None) -> str:
    """Markdown table of published against modelled latency and energy, a row per policy."""
    chip = EvolverChip(constants=constants)
    lines = [
        "| policy | weight bits | V, MHz | latency (ms) | model | error | energy (µJ) | model | error |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for m in published_measurements():
        bits = " ".join(map(str, m.policy.weight_bits))
        point, made = chip.points[m.policy.point], chip.measure(m.policy)
        latency, energy = made.latency_ms / m.latency_ms - 1, made.energy_uj / m.energy_uj - 1
        lines.append(
            f"| {m.name} | {bits} | {point.voltage_v:.2f}, {point.frequency_mhz:.0f} "
            f"| {m.latency_ms:.2f} | {made.latency_ms:.2f} | {latency:+.1%} "
            f"| {m.energy_uj:.2f} | {made.energy_uj:.2f} | {energy:+.1%} |"
        )
    return "\n".join(lines)


def constants_table(constants: ChipConstants | None = None) -> str:
    """Markdown table of the constants, the range each was fitted in, and which ended on its edge."""
    values = asdict(constants or EvolverChip().constants)
    lines = ["| constant | fitted | range | |", "| --- | ---: | --- | --- |"]
    low, high = (asdict(bound) for bound in PLAUSIBLE)
    for name, value in values.items():
        at_edge = min(abs(value / low[name] - 1), abs(value / high[name] - 1)) < 1e-3
        note = "on the edge: the data do not determine it" if at_edge else ""
        lines.append(f"| `{name}` | {value:.4g} | {low[name]:g} to {high[name]:g} | {note} |")
    return "\n".join(lines)


def main() -> None:
    """Fit the constants and print them for ``evolver.json``, then the two tables of the model's page."""
    # Six digits are more than the data justify, and a repeated fit gives the same text.
    rounded = {name: float(f"{value:.6g}") for name, value in asdict(fit_constants()).items()}
    print(json.dumps(rounded, indent=2))
    constants = ChipConstants(**rounded)
    print("", constants_table(constants), "", residual_table(constants), sep="\n")


if __name__ == "__main__":
    main()
