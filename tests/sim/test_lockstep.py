"""Lockstep says identical when RTL and golden model are, and finds planted bugs where they are."""

from pathlib import Path

import pytest

from rtl.spec.params import RLUParams
from sim.lockstep import run
from tb.bugs.catalogue import BUGS
from tb.kit.designs import CONFIGS
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
    assert set(report.compared) == {"Q-table write", "drawn number", "sampled action", "reward"}
    assert all(count >= 30 for count in report.compared.values())


def test_full_size():
    report = run(RLUParams(), seed=2, episodes=12)
    assert report.identical and report.compared["Q-table write"] > 1000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_full_size_for_long(seed):
    assert run(RLUParams(), seed=seed, episodes=400).identical


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
