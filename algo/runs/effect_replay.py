"""What a planning unit had learned after every iteration, from its trace: the golden model learns it again.

As for a Q-table (`algo.runs.q_replay`), the digests of the trace show whether the effects computed here are those that
the unit held. How the unit was set is in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from algo.runs.config import TuneConfig, planning_of
from algo.runs.q_replay import QTable, checkpoint_unit
from algo.runs.run_folder import CHECKPOINT, SUMMARY
from algo.search.scoring import weighed_energy
from algo.search.step import Step
from algo.support.user_files import check_object, reading
from rtl.spec.params import RLUParams
from sim.devices.device import GoldenDevice
from sim.devices.driver import Driver
from sim.devices.objective import Objective
from sim.devices.planning import Costs, Recommended


@dataclass(frozen=True)
class EffectHistory:
    """Effects on accuracy over time. The last row is that of the operating points; its entry 0 is the constant.

    Attributes:
        unit: effects are in this unit, a fraction.
        tables: effects of each row's actions after every iteration, up to the first that is not the trace's.
        trials: how often each of them had been tried, likewise.
        predicted: accuracy (0..1) that the unit expected of each iteration's policy before it was measured; ``None``
            as long as nothing had been measured.
        deployed: what the unit recommends after the last iteration; ``None`` if the run is unfinished.
        mismatch: what is missing or wrong, in words; empty if nothing is.
        last_matches: whether the last effects and trials are those of the checkpoint; ``None`` if that is of another
            iteration.
    """

    unit: float = 1.0
    tables: tuple[QTable, ...] = ()
    trials: tuple[QTable, ...] = ()
    predicted: tuple[float | None, ...] = ()
    deployed: Recommended | None = None
    mismatch: str = ""
    last_matches: bool | None = None


def effect_history(
    folder: Path, steps: Sequence[Step], config: TuneConfig, summary: Mapping[str, Any] | None
) -> EffectHistory | None:
    """What the unit of a run folder learned; ``None`` if its unit does not plan.

    Args:
        folder: of the run.
        steps: of its trace, from iteration 0.
        config: of the run.
        summary: of a finished run; its policy is compared with the one that the unit recommends.
    """
    if planning_of(config) is None:
        return None
    try:
        if not (folder / CHECKPOINT).exists():
            raise FileNotFoundError(f"the folder holds no {CHECKPOINT}, which says how the unit was set")
        saved = checkpoint_unit(folder)
        with reading(folder / CHECKPOINT, "{} is damaged"):
            driver, device = _emptied(saved, config)
        history = _replayed(driver, device, steps)
        if history.mismatch or saved["plan"]["told"] != len(steps):
            return history
        return _compared(history, driver, saved, summary)
    except (OSError, ValueError) as error:
        return EffectHistory(mismatch=f"the effects cannot be reconstructed: {type(error).__name__}: {error}")


def _emptied(saved: Mapping[str, Any], config: TuneConfig) -> tuple[Driver, GoldenDevice]:
    """A golden unit that is set like the saved one, and has learned nothing yet."""
    check_object(saved, {"plan": dict[str, Any], "action_counts": list[int], "params": str}, "the unit")
    counts, plan = saved["action_counts"], saved["plan"]
    check_object(plan, {"told": int, "costs": list[list[list[int]]]}, "the plan")
    objective = config.objective.at(0.0)  # the threshold of accuracy is in a register
    device = GoldenDevice(RLUParams.from_json(saved["params"]))
    driver = Driver(device)
    driver.configure(
        action_counts=counts, seed=config.seed, objective=objective, planning=planning_of(config),
        costs=_costs(plan["costs"], objective, driver.params),
    )  # fmt: skip
    nothing = {"told": 0, "places": [], "policies": [], "results": [], "trials": [0] * sum(counts)}
    empty = {"q_table": [[0] * count for count in counts], "reward": 0, "plan": plan | nothing}
    driver.restore({**saved, **empty}, objective)
    return driver, device


def _costs(words: Sequence[Sequence[Sequence[int]]], objective: Objective, params: RLUParams) -> Costs:
    """The costs that a unit has as these words."""
    figures = (
        [
            [[(word >> shift & 0xFFFF) / params.coef_one * full_scale for word in of_row] for of_row in of_point]
            for of_point in words
        ]
        for shift, full_scale in ((0, objective.latency_full_scale_ms), (16, objective.energy_full_scale_uj))
    )
    return Costs(*figures)


def _replayed(driver: Driver, device: GoldenDevice, steps: Sequence[Step]) -> EffectHistory:
    """The history of a unit that has learned nothing yet, as it learns what the steps measured."""
    params, planner = driver.params, device.model.planner
    tables: list[QTable] = []
    trials: list[QTable] = []
    predicted: list[float | None] = []
    mismatch = ""
    for step in steps:
        driver.write_policy(step.actions)
        accuracy = planner.appraise(device.model.policy).accuracy / params.coef_one
        expected = min(1.0, max(0.0, accuracy)) if planner.started else None
        driver.is_outlier(step.latency_ms, weighed_energy(driver.objective, step.energy_uj))
        learned = driver.learn(step.accuracy or 0.0)
        what = "effects that do not match the trace's digest" if learned.digest != step.q_digest else ""
        if not what and learned.reward * 2.0**-params.q_frac != step.reward:
            what = f"a score of {learned.reward * 2.0**-params.q_frac:g} instead of {step.reward:g}"
        if what:
            mismatch = (
                f"from iteration {step.iteration} on, replaying policies and accuracies gives {what}: the trace or "
                "the checkpoint was changed, or another version of the unit made it"
            )
            break
        tables.append(learned.q_table)
        counted = zip(planner.trials, driver.action_counts, strict=False)
        trials.append(tuple(tuple(row[:count]) for row, count in counted))
        predicted.append(expected)
    unit = 2.0 ** (1 - params.q_width)
    return EffectHistory(unit, tuple(tables), tuple(trials), tuple(predicted), mismatch=mismatch)


def _compared(
    history: EffectHistory, driver: Driver, saved: Mapping[str, Any], summary: Mapping[str, Any] | None
) -> EffectHistory:
    """A whole history with what the unit recommends, compared with the checkpoint and with what was deployed."""
    last = [list(row) for row in history.tables[-1]]
    counted = [count for row in history.trials[-1] for count in row]
    if (last, counted) != (saved["q_table"], saved["plan"].get("trials")):
        wrong = f"the effects or trials in {CHECKPOINT} are not those that the trace ends with"
        return replace(history, mismatch=wrong, last_matches=False)
    history = replace(history, last_matches=True)
    said = None if summary is None else summary.get("found_predicted")
    if said is None:
        return history
    found = driver.recommend()
    if (said.get("accuracy"), said.get("trials")) != (found.accuracy, list(found.trials)):
        wrong = f"the policy that the unit recommends in the end is not the one that {SUMMARY} says was deployed"
        return replace(history, mismatch=wrong)
    return replace(history, deployed=found)
