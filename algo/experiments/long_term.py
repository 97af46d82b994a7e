"""Whether tuning pays: its cost against 20 days of inference with the policy found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from algo.experiments import policies
from algo.experiments.base import Page, Row, Settings
from algo.experiments.plots import COLOURS, figure
from algo.experiments.policies import ENERGY, SMALLEST
from algo.experiments.statistics import mean_of_few, shown
from algo.published.evolver import evolver_facts


@dataclass(frozen=True)
class Cost:
    """Latency (ms) and energy (uJ) of an inference."""

    latency_ms: float
    energy_uj: float


@dataclass(frozen=True)
class LongTerm:
    """A tuned policy against a baseline over some days, both running all the time.

    Attributes:
        extra_inferences: how many more the tuned policy makes.
        energy_saved_j: over all inferences of the tuned policy, less the energy of tuning.
        energy_ratio: the baseline's energy for these inferences over that of policy and tuning.
        break_even_energy_days: until the saved energy equals that of tuning; infinite if nothing is saved.
        break_even_inferences_days: the tuning time, and the time to make up for the inferences missed in it.
    """

    extra_inferences: float
    energy_saved_j: float
    energy_ratio: float
    break_even_energy_days: float
    break_even_inferences_days: float


def compare(tuned: Cost, baseline: Cost, *, days: float, tuning_energy_j: float, tuning_hours: float) -> LongTerm:
    """The published comparison; see `LongTerm`."""
    a_day = 86_400e3 / tuned.latency_ms
    baseline_a_day = 86_400e3 / baseline.latency_ms
    inferences = a_day * days
    saved_a_day_j = (baseline.energy_uj - tuned.energy_uj) * 1e-6 * a_day
    spent = tuned.energy_uj * 1e-6 * inferences + tuning_energy_j
    tuning_days = tuning_hours / 24
    gained_a_day = a_day - baseline_a_day
    return LongTerm(
        extra_inferences=inferences - baseline_a_day * days,
        energy_saved_j=saved_a_day_j * days - tuning_energy_j,
        energy_ratio=baseline.energy_uj * 1e-6 * inferences / spent,
        break_even_energy_days=tuning_energy_j / saved_a_day_j if saved_a_day_j > 0 else float("inf"),
        break_even_inferences_days=(
            tuning_days + tuning_days * baseline_a_day / gained_a_day if gained_a_day > 0 else float("inf")
        ),
    )


def published_from_its_inputs() -> tuple[LongTerm, LongTerm]:
    """The published comparison with INT8 and with the model-size policy, from published latencies and energies."""
    facts = evolver_facts()
    costs = {m["name"]: Cost(m["latency_ms"], m["energy_uj"]) for m in facts["measurements"]}
    return (
        compare(costs[ENERGY], costs["INT8 (derived)"], **_published_tuning()),
        compare(costs[ENERGY], costs[SMALLEST], **_published_tuning()),
    )


#: Tuning runs that the data are made from.
TASKS = policies.TASKS


def configuration(settings: Settings) -> dict[str, Any]:
    """The configuration of the policies compared."""
    return policies.configuration(settings)


def compute(settings: Settings) -> dict[str, Any]:
    """Our deployed policies against INT8 and the smallest model, for each seed."""
    from algo.experiments.runs import tuned

    found = policies.compute(settings)
    trainings = [run.summary["trained"] for run in tuned(settings, "energy")["energy"]]
    ours = []
    for k, deployed in enumerate(found["deployments"][ENERGY]):
        tuning = _published_tuning()
        share = trainings[k] / published_trainings()
        tuning |= {"tuning_energy_j": tuning["tuning_energy_j"] * share, "tuning_hours": tuning["tuning_hours"] * share}
        row: dict[str, Any] = {"seed": deployed["seed"], "trainings": trainings[k], "tuning": tuning}
        for name, policy in (("deployed", deployed), ("best_seen", deployed["best_seen"])):
            for against, other in (("int8", found["baseline"][k]), ("smallest", found["deployments"][SMALLEST][k])):
                result = asdict(compare(_cost(policy), _cost(other), **tuning))
                row[f"{name}_{against}"] = {key: value if np.isfinite(value) else None for key, value in result.items()}
        ours.append(row)
    return {"seeds": ours}


def published_trainings() -> int:
    """Policies that the published energy-first search trained."""
    search = evolver_facts()["search"]
    return int(search["iterations"] - search["outliers_skipped"])


def present(data: Mapping[str, Any]) -> Page:
    """Published figures, the same figures from the published inputs, and ours."""
    facts = evolver_facts()["long_term"]
    against_int8, against_smallest = published_from_its_inputs()
    names = {
        "extra_inferences": ("extra inferences in 20 days", "{:.3g}"),
        "energy_saved_j": ("energy saved, J", "{:,.2f}"),
        "energy_ratio": ("energy of the baseline over ours", "{:.2f}"),
        "break_even_energy_days": ("break-even in energy, days", "{:.2f}"),
        "break_even_inferences_days": ("break-even in inferences, days", "{:.2f}"),
    }
    printed = {
        "int8": {
            "extra_inferences": facts["extra_inferences_vs_int8"], "energy_saved_j": facts["energy_saved_vs_int8_j"],
            "energy_ratio": facts["energy_saving_ratio_vs_int8"],
            "break_even_energy_days": facts["break_even_days_vs_int8"],
            "break_even_inferences_days": facts["break_even_days_vs_int8"],
        },
        "smallest": {
            "extra_inferences": facts["extra_inferences_vs_model_size_policy"],
            "energy_saved_j": facts["energy_saved_vs_model_size_policy_j"],
        },
    }  # fmt: skip
    rows = []
    for against, title, reproduced in (
        ("int8", "INT8", against_int8), ("smallest", "the model-size policy", against_smallest),
    ):  # fmt: skip
        for key, (label, form) in names.items():
            figure_printed = printed[against].get(key)
            again = form.format(getattr(reproduced, key))
            published = f"{figure_printed:g}" if figure_printed is not None else "not published"
            rows.append(
                Row(
                    f"{label}, against {title}", f"{published}; {again} from its inputs",
                    _ours(data, against, key, form), "chip model; tuning scaled",
                )
            )  # fmt: skip
    with figure() as drawn:
        _plot(drawn.axes[0], data)
    tuning = data["seeds"][0]["tuning"]
    return Page(
        rows, drawn.png, "Energy saved over INT8 since tuning began, over equal numbers of inferences",
        notes=(
            f"Formula, as published: both sides run all {facts['days']} days; energy is compared over as many "
            "inferences as the tuned policy makes, and the energy of tuning is subtracted.",
            "\"From its inputs\" puts the published latencies and energies into the formula. Against the smallest "
            "model-size policy this reproduces the printed figures independently; INT8's latency and energy were never "
            "printed and are [derived](../understand/evolver-model.md#measured-against-modelled) from two of these "
            "figures, so those two agree by construction and only the ratio of 1.3 is a check.",
            "The published break-even of 1 day lies between our two readings of it, in inferences and in energy.",
            f"The cost of tuning was not measured, because there is no chip. The published {facts['tuning_energy_j']} "
            f"J and {facts['tuning_hours']} h are scaled by trainings (published {published_trainings()}; ours, seed "
            f"1, {data['seeds'][0]['trainings']}), which gives {tuning['tuning_energy_j']:.0f} J and "
            f"{tuning['tuning_hours']:.1f} h.",
            "Ours is the deployed (greedy) policy of each seed, then the best seen; intervals are Student's t, 95 %.",
        ),
    )  # fmt: skip


def _published_tuning() -> dict[str, float]:
    facts = evolver_facts()["long_term"]
    return {
        "days": facts["days"], "tuning_energy_j": facts["tuning_energy_j"], "tuning_hours": facts["tuning_hours"],
    }  # fmt: skip


def _cost(policy: Mapping[str, Any]) -> Cost:
    return Cost(policy["latency_ms"], policy["energy_uj"])


def _ours(data: Mapping[str, Any], against: str, key: str, form: str) -> str:
    shown_figures = []
    for kind, label in (("deployed", ""), ("best_seen", "best seen ")):
        values = [seed[f"{kind}_{against}"][key] for seed in data["seeds"]]
        if any(value is None for value in values):
            each = ", ".join("never" if value is None else form.format(value) for value in values)
            shown_figures.append(f"{label}{each} (a figure per seed)")
        elif key == "extra_inferences":
            estimate = mean_of_few([value / 1e8 for value in values])
            shown_figures.append(f"{label}{shown(estimate, 2)} x 1e8")
        else:
            shown_figures.append(label + shown(mean_of_few(values), 2))
    return "; ".join(shown_figures)


def _plot(axes: Any, data: Mapping[str, Any]) -> None:
    facts = evolver_facts()["long_term"]
    days = np.linspace(0, facts["days"], 101)

    def line(energy_saved_j: float, tuning_j: float) -> Any:
        return (energy_saved_j + tuning_j) / facts["days"] * days - tuning_j

    published = published_from_its_inputs()[0].energy_saved_j
    axes.plot(days, line(published, facts["tuning_energy_j"]), ":", color="grey", label="published, from its inputs")
    for colour, seed in zip(COLOURS, data["seeds"], strict=False):
        saved = seed["deployed_int8"]["energy_saved_j"]
        axes.plot(
            days, line(saved, seed["tuning"]["tuning_energy_j"]), color=colour, label=f"ours, seed {seed['seed']}"
        )
    axes.axhline(0.0, color="black", linewidth=0.5)
    axes.set(xlabel="days", ylabel="energy saved, J")
