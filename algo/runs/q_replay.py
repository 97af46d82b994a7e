"""A run's Q-table after every iteration, from its trace: the golden model learns the same rewards again.

The trace holds a digest of each iteration's Q-table, not the table. The digests show whether the tables computed here
are those that the unit held.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algo.runs.config import UNITS, TuneConfig, episodic_of, planning_of
from algo.runs.run_folder import CHECKPOINT, Q_TABLE
from algo.search.step import Step
from algo.support.user_files import check_object, check_type, parse_json, reading
from rtl.spec.params import RLUParams
from sim.devices.device import GoldenDevice
from sim.devices.driver import Driver, q_digest
from sim.devices.episodic import EPISODES

QTable = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class QHistory:
    """The Q-table over time.

    Attributes:
        q_frac: Q-values are in units of 2**-q_frac.
        tables: the Q-table after every iteration, up to the first whose digest is not the trace's.
        mismatch: why tables are missing, in words; empty if none is.
        last_matches: whether the last table is that of ``q_table.json``; ``None`` if that file is missing.
    """

    q_frac: int
    tables: tuple[QTable, ...]
    mismatch: str = ""
    last_matches: bool | None = None


def replay(steps: Sequence[Step], params: RLUParams, counts: Sequence[int], config: TuneConfig) -> QHistory:
    """The Q-table after every step, by updating the golden model along the steps' actions with their rewards.

    Args:
        steps: of the trace, from iteration 0.
        params: of the unit.
        counts: number of actions of every row.
        config: of the run.
    """
    # An episodic unit's replays depend on everything it has drawn, so its policies are drawn here too.
    episodic = episodic_of(config)
    driver = Driver(GoldenDevice(params))
    driver.configure(
        action_counts=counts,
        seed=config.seed,
        alpha=config.unit.alpha,
        gamma=config.unit.gamma,
        full_last_reward=config.unit.full_last_reward,
        episodic=episodic,
    )
    tables: list[QTable] = []
    for step in steps:
        if episodic:
            driver.sample(step.epsilon or 0.0)
        driver.write_policy(step.actions)
        driver.update(round(step.reward * 2**params.q_frac))
        table = driver.q_table()
        if q_digest(table) != step.q_digest:
            return QHistory(
                params.q_frac,
                tuple(tables),
                f"from iteration {step.iteration} on, replaying actions and rewards gives a Q-table that does not "
                "match the trace's digest: the trace was changed, or another version of the unit made it",
            )
        tables.append(table)
    return QHistory(params.q_frac, tuple(tables))


def q_history(folder: Path, steps: Sequence[Step], config: TuneConfig) -> QHistory:
    """The Q-table over time of a run folder; ``mismatch`` says what went wrong, if anything."""
    if config.search.method not in UNITS or planning_of(config):  # see `effect_replay`
        return QHistory(0, (), "")
    try:
        params, counts = _unit(folder, config)
        history = replay(steps, params, counts, config)
    except (OSError, ValueError, KeyError) as error:
        return QHistory(0, (), f"the Q-table cannot be reconstructed: {type(error).__name__}: {error}")
    if history.mismatch or not (folder / Q_TABLE).exists():
        return history
    try:
        stored = _stored_rows(folder)
    except (OSError, ValueError) as error:
        return QHistory(history.q_frac, history.tables, str(error), False)
    same = stored == [list(row) for row in history.tables[-1]]
    return QHistory(
        history.q_frac, history.tables, "" if same else f"{Q_TABLE} is not the Q-table that the trace ends with", same
    )


def _unit(folder: Path, config: TuneConfig) -> tuple[RLUParams, list[int]]:
    """The unit's parameters and its rows' numbers of actions: from the checkpoint, else from the last Q-table."""
    if (folder / CHECKPOINT).exists():
        unit = checkpoint_unit(folder)
        with reading(folder / CHECKPOINT, "{} is damaged"):
            check_type(unit["action_counts"], list[int], "action_counts")
            return RLUParams.from_json(unit["params"]), unit["action_counts"]
    if not (folder / Q_TABLE).exists():
        raise FileNotFoundError(
            f"the folder holds neither {CHECKPOINT} nor {Q_TABLE}, which say how many actions a row has"
        )
    counts = [len(row) for row in _stored_rows(folder)]
    with reading(folder / Q_TABLE, "{} is damaged"):
        params = RLUParams(
            states=len(counts),
            actions=max(counts),
            action_counts=tuple(counts),
            lfsr_width=config.unit.lfsr_width,
            episodes=EPISODES if episodic_of(config) else 0,
        )
    return params, counts


def checkpoint_unit(folder: Path) -> dict[str, Any]:
    """What `Driver.save` returned after the last iteration; ValueError for a damaged checkpoint."""
    with reading(folder / CHECKPOINT, "{} is damaged"):
        with zipfile.ZipFile(folder / CHECKPOINT) as archive:
            header = check_object(parse_json(archive.read("unit.json")), {"unit": dict[str, Any]}, "unit.json")
        unit: dict[str, Any] = header["unit"]
        return unit


def _stored_rows(folder: Path) -> list[list[int]]:
    """Rows of the last Q-table; ValueError for a damaged file."""
    with reading(folder / Q_TABLE, "{} is damaged"):
        stored = check_object(parse_json((folder / Q_TABLE).read_bytes()), {"rows": list[list[int]]}, "what it holds")
        rows: list[list[int]] = stored["rows"]
        return rows
