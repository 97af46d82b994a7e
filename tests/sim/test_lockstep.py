"""Lockstep says identical when RTL and golden model are, and finds planted bugs where they are."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.spec.params import RLUParams
from rtl.spec.registers import BY_NAME
from rtl.verilog import generate
from sim.devices.device import READ, RESET, WAIT, WRITE, GoldenDevice, address_of
from sim.lockstep import run, run_units
from sim.simulators.build import generated_verilog
from sim.stimulus import stimuli, units
from tb.bugs.catalogue import BUGS
from tb.kit.designs import CONFIGS
from tests.command_line import rlu
from tests.planted_bugs import SIMULATOR, broken_unit, caught_by
from tests.require import require_command

SMALL = RLUParams(states=6, actions=5)


@pytest.mark.parametrize(
    ("params", "alpha", "gamma"),
    [
        (SMALL, 0.25, 0.99),
        (SMALL, 0.0, 1.0),
        (SMALL, 1.0, 0.0),
        (RLUParams(states=1, actions=2, lfsr_width=8), 0.5, 0.5),
        (RLUParams(states=5, actions=3, q_width=8, q_frac=6, coef_frac=4, gain_frac=4, lfsr_width=32), 0.3, 0.9),
    ],
)
def test_rtl_and_golden_model_are_identical(params, alpha, gamma):
    report = run(params, seed=11, episodes=60, alpha=alpha, gamma=gamma)
    assert report.identical and report.episodes == 60
    assert set(report.compared) == {"Q-table write", "drawn number", "sampled action", "reward", "bus answer"}
    assert all(count >= 20 for count in report.compared.values())


@pytest.mark.parametrize("config", ["planner", "planning"])
def test_units_that_plan_are_identical_in_every_cycle(config):
    report = run(CONFIGS[config], seed=4, episodes=40)
    assert report.identical and report.compared["Q-table write"] > 500


def test_full_size():
    report = run(RLUParams(), seed=2, episodes=16)
    assert report.identical and report.compared["Q-table write"] > 1000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_full_size_for_long(seed):
    assert run(RLUParams(), seed=seed, episodes=400).identical


def test_a_file_without_the_unit_is_refused(tmp_path, capsys):
    behind_a_bus = tmp_path / "rlu_apb.v"
    behind_a_bus.write_text(generate(SMALL, bus="apb"))
    code, _, said = rlu(capsys, "lockstep", "--rtl", behind_a_bus)
    assert code == 2 and "has no module rlu: lockstep takes the unit without a bus" in said


def test_icarus_too():
    require_command("iverilog", "iverilog")
    assert run(SMALL, seed=5, episodes=15, simulator="icarus").identical


@caught_by("lockstep")
def test_a_planted_bug_diverges(bug, catcher, tmp_path):
    params = CONFIGS[catcher.config]
    verilog = broken_unit(bug, params, tmp_path)
    report = run(params, seed=1, episodes=200 if catcher.quick else 600, verilog=verilog, simulator=SIMULATOR)
    assert not report.identical, f"{catcher} does not notice that {bug.name}"
    assert report.divergence.what.startswith(catcher.differs)


def test_by_default_there_are_units_of_several_kinds():
    several = units(1)
    assert several == units(1) and several[:-1] == units(2)[:-1] and several[-1] != units(2)[-1]
    assert several[0] == RLUParams()
    assert any(unit.lfsr_width == 8 for unit in several[:-1])
    assert {bool(unit.points) for unit in several[:-1] if unit.episodes} == {True, False}


def test_of_several_units_the_one_that_diverges_is_named(tmp_path, monkeypatch):
    other = RLUParams(states=3, actions=4, lfsr_width=8)
    path = broken_unit(BUGS["the LFSR is loaded with a bit inverted"], other, tmp_path)
    right = {SMALL: generated_verilog(SMALL), other: path}
    monkeypatch.setattr("sim.simulators.simulator.generated_verilog", lambda params, bus: right[params])
    reports = [run_units((SMALL, other, RLUParams()), seed=2, episodes=8, simulator=SIMULATOR) for _ in range(2)]
    first, second = (report.divergence for report in reports)
    assert first == second and first.what in ("drawn number", "register LFSR")
    assert first.unit == "3 states x 4 actions lfsr_width=8" and first.unit in str(first)
    assert reports[0].units == ["6 states x 5 actions", first.unit] and 8 < reports[0].episodes <= 16


UNITS = st.sampled_from([SMALL, *units(1)[1:], *(units(seed)[-1] for seed in range(2, 8))])


@settings(max_examples=15, deadline=None)
@given(params=UNITS, seed=st.integers(0, 1000))
def test_the_stimulus_varies_what_a_run_can_vary(params, seed):
    first, *episodes = stimuli(params, seed, 60)
    ops = [op for episode in episodes for op in episode]
    written = {name: [op.value for op in ops if op[:2] == (WRITE, address_of(name))] for name in BY_NAME}
    for name in ("ALPHA", "GAMMA", "EPSILON", "STATES", "MODE", "IRQ_ENABLE", "WEIGHT_A", "LATENCY_TH", "ENERGY_GAIN"):
        assert len(set(written[name])) > 1, name
    assert {op.kind for op in ops} == {READ, WRITE, WAIT, RESET}
    assert {op.address for op in ops if op.kind == READ} >= {register.offset for register in BY_NAME.values()}
    golden = GoldenDevice(params, record=True, busy_until_wait=True)
    golden.transact(first)
    assert sum(pins.err for pins in golden.pins) > 500  # every mistake that is one bit off
    golden.pins.clear()
    golden.transact(ops)
    assert {pins.busy for pins in golden.pins} == {pins.irq for pins in golden.pins} == {0, 1}
    refused = sum(pins.err for pins in golden.pins)
    assert 10 < refused < len(golden.pins) / 10


@settings(max_examples=15, deadline=None)
@given(params=UNITS, seed=st.integers(0, 1000), alpha=st.floats(0, 1), gamma=st.floats(0, 1))
def test_alpha_and_gamma_that_are_given_stay(params, seed, alpha, gamma):
    golden = GoldenDevice(params, busy_until_wait=True)
    for episode in stimuli(params, seed, 20, alpha, gamma):
        golden.transact(episode)
        registers = golden.model.registers
        assert abs(registers["ALPHA"] / params.coef_one - alpha) <= 0.5 / params.coef_one
        assert abs(registers["GAMMA"] / params.coef_one - gamma) <= 0.5 / params.coef_one


def test_the_place_is_named_and_the_waveform_lies_around_it(tmp_path):
    path = broken_unit(BUGS["the LFSR is loaded with a bit inverted"], SMALL, tmp_path)
    waves = tmp_path / "waves.vcd"
    report = run(SMALL, seed=1, episodes=30, verilog=path, waves=waves)
    divergence = report.divergence
    assert divergence.what == "drawn number" and divergence.episode == 0 and divergence.index == 0
    assert "Draw(row=0" in divergence.golden and "Draw(row=0" in divergence.rtl
    assert f"cycle {divergence.cycle}" in str(divergence)
    times = [int(line[1:]) // 10_000 for line in waves.read_text().splitlines() if line.startswith("#")]
    assert min(times) >= divergence.cycle - 41 and max(times) <= divergence.cycle + 41
    assert min(times) <= divergence.cycle <= max(times)
    assert "$dumpvars" in waves.read_text()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"alpha": 1.1}, r"alpha must be in 0\.\.1, not 1.1"),
        ({"gamma": -1.0}, r"gamma must be in 0\.\.1, not -1"),
        ({"episodes": 0}, "episodes must be at least 1, not 0"),
        ({"simulator": "verilog-xl"}, "simulator must be one of verilator, icarus"),
        ({"simulator": "icarus", "waves": Path("x.vcd")}, "waveforms are written with the simulator verilator"),
    ],
)
def test_names_what_is_out_of_range(fields, said):
    with pytest.raises(ValueError, match=said):
        run(SMALL, **fields)
