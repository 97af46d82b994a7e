"""The unit behind its standard buses; their benches are run with the others, in tests/tb/benches/test_benches.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from algo.cli import rlu
from algo.runs.run_folder import TRACE
from rtl.spec.buses import BUSES, FRONT_ENDS, STANDARD, FrontEnd
from rtl.spec.params import RLUParams
from rtl.spec.registers import REGISTERS, SAMPLE, WINDOW_BY_NAME
from rtl.verilog import generate, ports
from sim.devices.device import READ, RESET, WAIT, WRITE, GoldenDevice, Op, address_of
from sim.devices.driver import Driver
from sim.devices.objective import Objective
from sim.devices.planning import Costs, Planning
from sim.devices.shadow import ShadowedDevice
from sim.simulators.build import Simulator
from sim.simulators.masters import MASTERS
from sim.simulators.simulator import SimDevice
from tests.algo.runs.test_tuning import tuned
from tests.planted_bugs import SIMULATOR

PARAMS = RLUParams(states=9, actions=9, action_counts=(3,) * 8 + (9,))
WRAPPED = [bus.name for bus in STANDARD]


@pytest.mark.parametrize("bus", FRONT_ENDS, ids=BUSES)
def test_a_bus_is_what_its_record_says(bus: FrontEnd) -> None:
    said = {(port.name, port.direction, port.width) for port in bus.ports}
    there = {(port["name"], port["direction"], port["width"]) for port in ports(PARAMS, bus.name)}
    others = {("clk", "in", 1), ("rst", "in", 1), ("busy", "out", 1), ("irq", "out", 1)}
    assert there - said - {port for port in there if port[0] == "probe"} == others and said <= there
    assert len(said) == len(bus.ports) and all(port.doc for port in bus.ports)
    assert f"\nmodule {bus.top}(" in generate(PARAMS, bus.name)


def test_every_bus_has_a_master() -> None:
    assert set(MASTERS) == set(BUSES)


@pytest.mark.parametrize("command", ["tune", "verilog", "synth"])
def test_the_help_names_every_bus(command: str) -> None:
    said = CliRunner().invoke(rlu, [command, "--help"]).output
    assert " ".join(f"{', '.join(BUSES[:-1])} or {BUSES[-1]}.".split()) in " ".join(said.split())


@pytest.mark.parametrize("bus", WRAPPED)
def test_a_tuning_run_over_the_bus_decides_as_the_golden_model(bus: str, tmp_path: Path) -> None:
    golden, golden_summary, _ = tuned(tmp_path / "golden")
    folder, summary, _ = tuned(tmp_path / bus, device="sim", bus=bus, simulator=SIMULATOR)
    assert (folder.path / TRACE).read_bytes() == (golden.path / TRACE).read_bytes()
    assert summary.pop("golden_words_compared") > 1000 and golden_summary.pop("golden_words_compared") == 0
    assert summary == golden_summary


@pytest.mark.parametrize("bus", WRAPPED)
def test_a_planned_search_over_the_bus_is_that_of_the_golden_model(bus: str) -> None:
    params = RLUParams(states=9, actions=4, episodes=4, points=2)
    counts = (3, 4, 2, 1, 3, 2, 4, 3, 2)
    latency = [[[(action + 1) * (2 - point) / 3 for action in range(n)] for n in counts] for point in range(2)]
    energy = [[[9.0 * (action + 1) * (1 + point) for action in range(n)] for n in counts] for point in range(2)]
    settings: dict[str, Any] = {
        "action_counts": counts, "seed": 3, "objective": Objective(accuracy_th=0.5),
        "planning": Planning(climbs=2), "costs": Costs(latency, energy),
    }  # fmt: skip

    def searched(driver: Driver, rounds: int) -> list[object]:
        found: list[object] = []
        for k in range(rounds):
            policy = driver.plan()
            missed = driver.is_outlier(latency_ms=25.0 if k % 4 == 3 else 2.0, energy_uj=20.0)
            found += [policy, missed, driver.learn(0.9 - 0.02 * sum(policy) / 9), driver.recommend(), driver.cycles()]
        return found

    with SimDevice(params, bus=bus, simulator=SIMULATOR) as device:
        shadowed = ShadowedDevice(device, params)
        drivers = Driver(shadowed), Driver(GoldenDevice(params))
        for driver in drivers:
            driver.configure(**settings)
        assert searched(drivers[0], 6) == searched(drivers[1], 6)
        saved = [driver.save() for driver in drivers]
        assert saved[0] == saved[1]
        drivers[0].configure(**settings)
        drivers[0].restore(saved[1], settings["objective"])
        assert searched(drivers[0], 2) == searched(drivers[1], 2)
        assert shadowed.compared > 300


@pytest.mark.slow
@pytest.mark.parametrize("bus", WRAPPED)
def test_a_published_run_over_the_bus_decides_as_the_golden_model(bus: str, tmp_path: Path) -> None:
    golden, _, _ = tuned(tmp_path / "golden", schedule="published")
    folder, _, _ = tuned(tmp_path / bus, device="sim", bus=bus, schedule="published")
    assert (folder.path / TRACE).read_bytes() == (golden.path / TRACE).read_bytes()


@pytest.mark.parametrize("bus", WRAPPED)
def test_every_register_and_window_is_where_it_is(bus: str) -> None:
    """What is written to all places differs, so that an address that stands for two is noticed."""
    windows = [w.offset + 4 * word for w in WINDOW_BY_NAME.values() for word in range(w.words(PARAMS))]
    places = [r.offset for r in REGISTERS] + windows
    with SimDevice(PARAMS, bus=bus, simulator=SIMULATOR) as device:
        shadowed = ShadowedDevice(device, PARAMS)
        written = [Op(WRITE, place, 1 + place // 4 % 3) for place in windows]
        written.append(Op(WRITE, address_of("COMMAND"), SAMPLE))
        shadowed.transact([*written, Op(WAIT), *(Op(READ, place) for place in places)])
        shadowed.transact([op for place in range(0, 0x4000, 0x1D4) for op in (Op(READ, place), Op(READ, 0x14))])
        shadowed.transact([Op(RESET), *(Op(READ, place) for place in places)])
        assert shadowed.compared > 250


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_an_unknown_bus_names_those_there_are(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match=f"bus must be one of {', '.join(BUSES)}, not 'pci'"):
        SimDevice(PARAMS, bus="pci", simulator=simulator)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "sim", "--bus", "pci"], f"bus must be one of {', '.join(BUSES)}, not 'pci'"),
        (["--bus", "wishbone"], "bus wishbone is for the simulated RTL: it needs the device sim, not golden"),
    ],
)
def test_the_command_refuses_a_bus_it_cannot_use(arguments: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "algo.cli", "tune", *arguments, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_bus_is_part_of_a_runs_configuration(tmp_path: Path) -> None:
    folder, _, _ = tuned(tmp_path / "run", stop=1)
    assert json.loads((folder.path / "config.json").read_text())["device"]["bus"] == "none"
