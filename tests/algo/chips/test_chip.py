from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algo.chips import evolver_fit as chip_fit
from algo.chips.evolver import ChipConstants, EvolverChip
from algo.chips.evolver_fit import PLAUSIBLE, constants_table, fit_constants, residual_table
from algo.published.evolver import (
    BIT_WIDTHS,
    INT8_BASELINE,
    OPERATING_POINTS,
    PUBLISHED_VGG8,
    evolver_facts,
    published_measurements,
)
from algo.space.layers import LayerShape
from algo.space.policy import Policy
from tests.places import ROOT

CHIP = EvolverChip()
NAMES = "its layers are conv1, conv2, conv3, conv4, conv5, conv6, fc1, fc2"
DOCS = ROOT / "docs"
bits = st.sampled_from(BIT_WIDTHS)
policies = st.builds(
    Policy,
    st.tuples(*[bits] * 8),
    st.tuples(*[bits] * 8),
    st.integers(0, len(OPERATING_POINTS) - 1),
)


def test_published_facts_are_complete() -> None:
    assert [(p.voltage_v, p.frequency_mhz) for p in OPERATING_POINTS] == [
        *[(0.75, 120), (0.77, 160), (0.80, 232), (0.85, 248), (0.90, 260)],
        *[(0.95, 261), (1.00, 262), (1.05, 264), (1.10, 268)],
    ]
    assert sum(step["iterations"] for step in evolver_facts()["epsilon_schedule"]) == 330
    assert Policy((8,) * 8, (8,) * 8, 2) == INT8_BASELINE


def test_published_network_has_the_usual_work_and_weights() -> None:
    assert [layer.weights for layer in PUBLISHED_VGG8] == [
        *[3456, 147456, 294912, 589824, 1179648, 2359296],
        *[8388608, 102400],
    ]
    assert sum(layer.macs for layer in PUBLISHED_VGG8) == 616_009_728
    assert PUBLISHED_VGG8[6].input_values == 512 * 4 * 4


def test_int8_follows_from_the_published_comparison_over_twenty_days() -> None:
    by_name = {m.name: m for m in published_measurements()}
    best, int8 = by_name["energy first"], by_name["INT8 (derived)"]
    seconds = 20 * 86400
    inferences = seconds / (best.latency_ms * 1e-3)
    assert int8.latency_ms == pytest.approx(seconds * 1e3 / (inferences - 1.12e8), abs=0.005)
    saved_uj = (4046.04 + 369.44) * 1e6 / inferences
    assert int8.energy_uj == pytest.approx(best.energy_uj + saved_uj, abs=0.005)
    # The same sums give the published saving against the model-size policy, so they are the authors' own.
    other = by_name["smallest model"]
    saved_j = (other.energy_uj - best.energy_uj) * 1e-6 * inferences - 369.44
    assert saved_j == pytest.approx(545.25, abs=0.01)


def test_measurement_equals_the_equations_worked_by_hand() -> None:
    layer = LayerShape("only", macs=640_000, weights=1000, input_values=200, output_values=300)
    constants = ChipConstants(
        macs_per_cycle=100, memory_gbit_per_s=1, mac_energy_pj=0.5, leakage_mw=2, memory_energy_pj_per_bit=3
    )
    chip = EvolverChip([layer], constants)
    # 640,000 operations at 4x8 bits are 320,000 full ones: 3,200 cycles, 3200/232 µs.
    # Memory moves 1000·4 + 500·8 = 8,000 bits in 8 µs, hidden behind the array.
    made = chip.measure(Policy((4,), (8,), 2))
    assert made.latency_ms == pytest.approx(3.2 / 232)
    assert made.energy_uj == pytest.approx(320e3 * 0.5e-6 * 0.64 + 2 * 0.8 * 3.2 / 232 + 8000 * 3e-6)
    # At 2x2 bits: 40,000 full operations, 400 cycles, 1.72 µs; memory 2000 + 1000 bits, 3 µs, is slower.
    assert chip.measure(Policy((2,), (2,), 2)).latency_ms == pytest.approx(3e-3)


@given(policies, st.integers(0, 7), st.sampled_from(["weight_bits", "activation_bits"]))
def test_more_bits_never_cost_less(policy: Policy, layer: int, which: str) -> None:
    widths = list(getattr(policy, which))
    widths[layer] = 8
    wider = policy.but(**{which: tuple(widths)})
    few, many = CHIP.measure(policy), CHIP.measure(wider)
    assert 0 < few.latency_ms <= many.latency_ms
    assert 0 < few.energy_uj <= many.energy_uj
    if getattr(policy, which)[layer] < 8:
        assert few.energy_uj < many.energy_uj


@given(policies)
def test_a_higher_point_is_never_slower_and_a_lower_voltage_saves_dynamic_energy(policy: Policy) -> None:
    runs = [CHIP.measure(policy.but(point=point)) for point in range(9)]
    assert all(a.latency_ms >= b.latency_ms for a, b in itertools.pairwise(runs))
    without_leakage = EvolverChip(constants=replace(CHIP.constants, leakage_mw=0))
    runs = [without_leakage.measure(policy.but(point=point)) for point in range(9)]
    assert all(a.energy_uj < b.energy_uj for a, b in itertools.pairwise(runs))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy((8,) * 7, (8,) * 8, 0), "the chip runs 8 layers, not 7 weight bits: " + NAMES),
        (Policy((8,) * 8, (8,) * 9, 0), "the chip runs 8 layers, not 9 activation bits: " + NAMES),
        (
            Policy((8, 3, *(8,) * 6), (8,) * 8, 0),
            "layer conv2: weight bits must be one of 2, 4, 8, not 3",
        ),
        (
            Policy((8,) * 8, (*(8,) * 7, 16), 0),
            "layer fc2: activation bits must be one of 2, 4, 8, not 16",
        ),
        (Policy((8,) * 8, (8,) * 8, 9), "operating point must be in 0..8, not 9"),
        (Policy((8,) * 8, (8,) * 8, -1), "operating point must be in 0..8, not -1"),
    ],
)
def test_policies_the_chip_cannot_run_are_named(policy: Policy, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        CHIP.measure(policy)
    assert str(caught.value) == message


def test_a_chip_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 layer"):
        EvolverChip([])


def test_stored_constants_are_what_a_fit_gives_and_plausible() -> None:
    stored, fitted = asdict(CHIP.constants), asdict(fit_constants())
    assert stored == pytest.approx(fitted, rel=1e-4)
    low, high = (asdict(bound) for bound in PLAUSIBLE)
    assert all(low[name] * 0.999 <= stored[name] <= high[name] * 1.001 for name in stored)


def test_residuals_of_the_published_policies_are_as_documented() -> None:
    page = (DOCS / "understand" / "evolver-model.md").read_text(encoding="utf-8")
    assert residual_table() in page
    assert constants_table() in page


def test_residual_table_tells_the_error_of_the_worst_policy() -> None:
    row = next(line for line in residual_table().splitlines() if line.startswith("| latency first"))
    made = CHIP.measure(Policy((4, 8, 8, 8, 4, 4, 8, 8), (8,) * 8, 7))
    assert f"| 5.46 | {made.latency_ms:.2f} | {made.latency_ms / 5.46 - 1:+.1%} |" in row
    assert f"| 111.81 | {made.energy_uj:.2f} | {made.energy_uj / 111.81 - 1:+.1%} |" in row


def test_module_prints_fit_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    chip_fit.main()
    printed = capsys.readouterr().out
    assert residual_table() in printed
    assert constants_table() in printed


def test_importing_the_chip_needs_neither_torch_nor_scipy() -> None:
    modules = "sys, algo.chips.evolver, algo.nets.data.datasets"
    code = f"import {modules}; print({{'torch', 'scipy', 'sklearn'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
