"""Writes the IP package: records the scenario of its bench, and puts the files into a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtl.flows.ip.package import MANIFEST, Phase, Step, files
from rtl.spec.names import DEFAULT
from rtl.spec.params import RLUParams
from rtl.spec.registers import ACTION_COUNT, POLICY, Q_TABLE, field_of
from sim.devices.device import READ, WRITE, GoldenDevice, Op, address_of
from sim.devices.driver import Driver
from sim.devices.planning import Costs, Planning
from sim.files import write_atomically

_GENERATOR = "rlu verilog of rlu-cosim"
_HEADER = "_regs.h"  # behind the prefix


class NotAPackage(ValueError):
    """The folder holds other files, which are not overwritten."""


class _Recorder:
    """The golden device; it records every operation and its answer as a step of the bench."""

    def __init__(self, params: RLUParams) -> None:
        self.device = GoldenDevice(params)
        self.steps: list[Step] = []

    def transact(self, ops: Sequence[Op]) -> list[int]:
        answers = []
        for op in ops:
            words = self.device.transact([op])
            answers += words
            if op.kind == READ:
                self.steps.append(Step("expect_word", op.address, words[0]))
            elif op.kind == WRITE:
                self.steps.append(Step("write", op.address, op.value))
            else:
                self.steps.append(Step("wait"))
        return answers

    def close(self) -> None:
        self.device.close()

    def phase(self, title: str, *, interrupt: bool = False) -> Phase:
        """The steps since the last call."""
        steps, self.steps = self.steps, []
        return Phase(title, interrupt, steps)


def scenario(params: RLUParams) -> list[Phase]:
    """A small search, as the driver carries it out on the golden model, with every expected word."""
    recorder = _Recorder(params)
    # Memories may have any contents at power-up, and the driver reads policy words with rows that its task lacks.
    counts = params.action_counts or (params.actions,) * params.states
    recorder.transact([Op(WRITE, ACTION_COUNT.address(row), count) for row, count in enumerate(counts)])
    recorder.transact([Op(WRITE, address, 0) for address in POLICY.addresses(params.states)])
    phases = [recorder.phase("Memories, which have no reset")]
    driver = Driver(recorder)
    rows = min(params.states, 9)
    phases.append(recorder.phase("Which unit it is"))

    # Rows of different length, as a real task has them.
    driver.configure(action_counts=[1 + (row + params.actions - 1) % params.actions for row in range(rows)], seed=77)
    phases.append(recorder.phase(f"A task of {rows} rows, waiting by polling"))

    for round_, epsilon in enumerate((1.0, 0.6, 0.2)):
        driver.sample(epsilon)
        driver.is_outlier(latency_ms=5.0 + round_, energy_uj=90.0 - 20 * round_)
        driver.learn(accuracy=0.8 + 0.05 * round_)
        if round_ == 0:
            phases.append(recorder.phase("A policy drawn, rewarded and learnt from"))
            done = field_of("IRQ_ENABLE", "done").mask
            errors = field_of("IRQ_STATUS", "error").mask | field_of("IRQ_STATUS", "done").mask
            recorder.transact([Op(WRITE, address_of("IRQ_STATUS"), errors), Op(WRITE, address_of("IRQ_ENABLE"), done)])
            phases.append(recorder.phase("From here on the interrupt says when the unit is done"))
    driver.sample(0.0)
    phases.append(recorder.phase("Two more, and the best policy found", interrupt=True))

    if params.points:
        _plan(driver)
        phases.append(recorder.phase("Planning with known costs: costs, plans, a recommendation", interrupt=True))
        driver.restore(driver.save(), driver.objective)
        driver.plan()
        phases.append(recorder.phase("Its memories read and written, and a plan from them", interrupt=True))

    # The whole of the memories, up to their last words.
    driver.configure(action_counts=[params.actions] * params.states, seed=1)
    driver.sample(1.0)
    driver.update(params.q_max // 2)
    driver.sample(0.0)
    last = Q_TABLE.addresses(1, params.actions, first=params.states - 1)
    recorder.transact([Op(READ, address) for address in last])
    driver.cycles()
    phases.append(recorder.phase(f"All {params.states} rows", interrupt=True))
    return phases


def _plan(driver: Driver) -> None:
    """A small search of a planning unit; no plan takes as long as the bench waits."""
    p = driver.params
    counts = [p.actions] * min(p.states - 1, 4) + [min(p.actions, p.points)]
    places = [[[0.1 * (point + row + action) for action in range(n)] for row, n in enumerate(counts)]
              for point in range(counts[-1])]  # fmt: skip
    costs = Costs(places, [[[8 * cost for cost in row] for row in point] for point in places])
    driver.configure(action_counts=counts, seed=5, planning=Planning(climbs=2, sweeps=1), costs=costs)
    driver.write_policy([count - 1 for count in counts])
    for accuracy in (0.9, 0.85, 0.95, 0.9):
        driver.is_outlier(latency_ms=3.0, energy_uj=30.0)
        driver.learn(accuracy)
        driver.plan()
    driver.recommend()


def write(
    params: RLUParams,
    bus: str,
    folder: Path,
    *,
    clock_mhz: float | None = None,
    technology: str = "generic",
    reset: str = "active-high",
    name: str = DEFAULT,
) -> list[Path]:
    """Write the package into a folder, over an older one of ours; returns what was written.

    The arguments are those of `rtl.flows.ip.package.files`.

    Raises:
        NotAPackage: if the folder holds anything other than a package of ours.
        ValueError: for an unknown bus, technology or reset, an impossible name or clock.
    """
    old = _manifest(folder)
    content = files(params, bus, scenario(params), clock_mhz=clock_mhz, technology=technology, reset=reset, name=name)
    # First, so an interrupted write leaves a folder that is known as ours.
    content = {MANIFEST: _manifest_text({*content, *old}), **content}
    for path, text in content.items():
        write_atomically(folder / path, text)
    for path in sorted(set(old) - set(content)):
        (folder / path).unlink(missing_ok=True)
    write_atomically(folder / MANIFEST, _manifest_text(set(content) - {MANIFEST}))
    return [folder / path for path in content]


def rivals(folder: Path) -> list[Path]:
    """Folders beside a package that hold another unit under the same prefix.

    FuseSoC takes only one of the cores of a name in a library, Verilog only one of the modules and C only one of the
    macros, whose prefix is in upper case. Units of the same parameters behind different buses share header and driver.
    """
    own = folder.resolve()
    return [
        other
        for other in sorted(own.parent.iterdir())
        if other != own and (other / MANIFEST).is_file() and _same_prefix(own, other)
    ]


def _same_prefix(one: Path, other: Path) -> bool:
    """Whether names of two packages clash."""
    (header,), others = one.glob(f"*{_HEADER}"), list(other.glob(f"*{_HEADER}"))
    if header.name.casefold() not in [found.name.casefold() for found in others]:
        return False
    shared = [path.name for path in (header, *one.glob("*.v"))]
    return not (other / header.name).is_file() or any(
        (other / name).is_file() and (other / name).read_text() != (one / name).read_text() for name in shared
    )


def _manifest_text(names: set[str]) -> str:
    return json.dumps({"generator": _GENERATOR, "files": sorted(names)}, indent=2) + "\n"


def _manifest(folder: Path) -> list[str]:
    """Files of the package in the folder, none if the folder is empty or missing."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return []
    problem = NotAPackage(f"{folder} is not empty and not a package of ours: name another folder, or empty it")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        names: Any = manifest["files"] if manifest["generator"] == _GENERATOR else None
        inside = folder.resolve()
        ours = isinstance(names, list) and all((folder / name).resolve().is_relative_to(inside) for name in names)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise problem from None
    if not ours:
        raise problem
    return list(names)
