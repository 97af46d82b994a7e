"""Thresholds choose what both published tables say, train with a sigmoid's gradient, and slices are what is used."""

import itertools

import numpy as np
import pytest
import torch

from algo.fed.threshold_net import (
    INDICATORS,
    ThresholdBlock,
    ThresholdNet,
    bit_parts,
    held_slices,
    indicator,
    layout_of,
    tensors_of,
)
from algo.nas.space import Block, Option, Space, Stage

SPACE = Space("three", 4, 2, (Stage(6, 2), Stage(8, 1, 2)), 12)
#: Signs of the indicators e3, e6 and k5, as published, and what they choose: kernel and expansion.
PATHS = {(-1, 0, 0): None, (1, -1, -1): (3, 3), (1, -1, 1): (5, 3), (1, 1, -1): (3, 6), (1, 1, 1): (5, 6)}
#: Signs of b8 and b16, and bits.
BITS = {(1, 1): 16, (1, -1): 8, (-1, 0): 4}


def signs(pattern):
    """Every way to fill what may be either."""
    return itertools.product(*((-1, 1) if sign == 0 else (sign,) for sign in pattern))


def block(seed=0, adds_input=True):
    torch.manual_seed(seed)
    return ThresholdBlock(Block("1.1", 4, 4 if adds_input else 6, 1, (8, 8)), SPACE)


def set_signs(one, **wanted):
    """Thresholds far below or far above the norms."""
    with torch.no_grad():
        for number, name in enumerate(INDICATORS):
            if name in wanted:
                one.thresholds[number] = -1.0 if wanted[name] > 0 else 100.0


@pytest.mark.parametrize(("pattern", "path"), PATHS.items())
def test_the_table_of_paths(pattern, path):
    for e3, e6, k5 in signs(pattern):
        one = block()
        set_signs(one, e3=e3, e6=e6, k5=k5)
        option = one.option()
        assert (option and option[:2]) == path
        # A block that halves the image, or changes the channels, cannot be left out.
        other = block(adds_input=False)
        set_signs(other, e3=e3, e6=e6, k5=k5)
        assert other.option() is not None


@pytest.mark.parametrize(("part", "indicator_"), [("rim", "k5"), ("first half", "e3"), ("second half", "e6")])
def test_an_indicator_falls_with_its_own_part(part, indicator_):
    """Each is a norm of one part; the others stay."""
    one = block()
    with torch.no_grad():
        one.thresholds[:] = 0.4  # of the fresh part, whichever kernel is used; half of the rim is 0.5
        if part == "rim":
            one.depthwise -= one.depthwise * one.rim * 0.99
        elif part == "first half":
            one.depthwise[: one.narrow] *= 0.01
        else:
            one.depthwise[one.narrow :] *= 0.01
        found = {name for name, value in zip(INDICATORS[:3], one.chosen()[:3], strict=True) if not value}
    assert found == {indicator_}


@pytest.mark.parametrize(("pattern", "bits"), BITS.items())
def test_the_table_of_bits(pattern, bits):
    for b8, b16 in signs(pattern):
        one = block()
        set_signs(one, e3=1, b8=b8, b16=b16)
        assert one.option().bits == bits
        _, depthwise, _ = one.rounded(one.chosen())
        assert len(depthwise.unique()) <= 2**bits + 1


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_the_first_bits_are_those_of_the_code(bits):
    torch.manual_seed(1)
    weight = torch.randn(50, 7)
    parts = bit_parts(weight)
    low, high = float(weight.min()), float(weight.max())
    code = torch.round((weight - weight.min()) / (weight.max() - weight.min()) * 65535).long()
    value = sum(parts[: {4: 1, 8: 2, 16: 3}[bits]])
    if bits == 16:
        wanted = low + (high - low) * code / 65535
    else:
        wanted = low + (high - low) * ((code >> (16 - bits)) + 0.5) / 2**bits
    assert torch.allclose(value.double(), wanted.double(), atol=2e-6)
    assert (value - weight).abs().max() <= 0.51 * (high - low) / 2**bits + 1e-6


def test_the_gradient_of_an_indicator_is_that_of_the_sigmoid():
    values = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    step = indicator(values)
    assert step.tolist() == (values > 0).double().tolist()
    step.sum().backward()
    near = 1e-6
    slope = (torch.sigmoid(values + near) - torch.sigmoid(values - near)) / (2 * near)
    assert torch.allclose(values.grad, slope.detach(), atol=1e-9)


def test_gradients_of_thresholds_against_finite_differences_of_the_relaxed_form():
    """In the relaxed form every indicator is its sigmoid, and the loss is smooth in the thresholds."""
    one = block().double()
    images = torch.randn(6, 4, 8, 8, dtype=torch.float64)

    def loss():
        return one(images, one.chosen(relaxed=True)).square().mean()

    loss().backward()
    found = one.thresholds.grad.clone()
    for number in range(len(INDICATORS)):
        values = []
        for change in (1e-6, -1e-6):
            with torch.no_grad():
                one.thresholds[number] += change
                values.append(float(loss()))
                one.thresholds[number] -= change
        wanted = (values[0] - values[1]) / 2e-6
        assert wanted != 0 and float(found[number]) == pytest.approx(wanted, rel=1e-4, abs=1e-9)


def test_the_indicators_pass_the_same_gradient_as_the_relaxed_form_would_at_the_same_values():
    """d loss / d t = -(d loss / d s) sigmoid'(id), with the loss at the hard choice."""
    one = block()
    images = torch.randn(6, 4, 8, 8)
    chosen = [value.detach().requires_grad_() for value in one.chosen()]
    one(images, type(one.chosen())(*chosen)).square().mean().backward()
    direct = [value.grad for value in chosen]
    one.zero_grad()
    one(images, one.chosen()).square().mean().backward()
    # e6 and both bits have thresholds of their own alone; k5 also moves the norms of the halves.
    for number, name in enumerate(INDICATORS):
        if name in ("b8", "b16"):
            value = float(one._squares_of_bits()[number - 3].detach() - one.thresholds[number].detach())
            slope = torch.sigmoid(torch.tensor(value))
            assert float(one.thresholds.grad[number]) == pytest.approx(
                -float(direct[number]) * float(slope * (1 - slope)), rel=1e-3
            )


def network(seed=0):
    torch.manual_seed(seed)
    return ThresholdNet(SPACE, (1, 16, 16), 3)


def test_what_a_network_does_not_hold_does_not_matter():
    images = torch.randn(5, 1, 16, 16)
    for number, (path, bits) in enumerate(itertools.product(PATHS.items(), BITS.items())):
        one = network(number)
        for own in one.threshold_blocks():
            e3, e6, k5 = (sign or 1 for sign in path[0])
            b8, b16 = (sign or 1 for sign in bits[0])
            set_signs(own, e3=e3, e6=e6, k5=k5, b8=b8, b16=b16)
        layout, options = layout_of(one), one.options()
        held = held_slices(layout, options, SPACE)
        before = one(images)
        changed = tensors_of(one, layout)
        others = [number for number in range(len(layout.slices)) if number not in held]
        assert bool(others) == (options != [Option(5, 6, bits[1])] * 3)
        layout.put(others, [3 * values for values in layout.of(others, changed)], changed)
        with torch.no_grad():
            for name, value in one.named_parameters():
                if name in changed:
                    value.copy_(torch.from_numpy(changed[name]))
        assert one.options() == options
        assert torch.equal(one(images), before)
        # and everything that it holds does matter
        for number in held:
            now = tensors_of(one, layout)
            layout.put([number], [values + 0.5 for values in layout.of([number], now)], now)
            name = layout.slices[number].tensor
            known = dict(one.named_parameters())[name]
            kept = known.detach().clone()
            with torch.no_grad():
                known.copy_(torch.from_numpy(now[name]))
                moved = not torch.equal(one(images), before)
                known.copy_(kept)
            assert moved or "norm" in name, layout.slices[number]


def test_slices_are_all_of_every_tensor():
    one = network()
    layout = layout_of(one)
    weights = sum(value.numel() for value in one.weights())
    assert layout.count(range(len(layout.slices))) == weights
    assert {"k3e3", "k3e6", "k5e3", "k5e6", "e3", "e6", "all"} == {cut.name for cut in layout.slices}
    small = [Option(3, 3, 8)] * 3
    share = layout.count(held_slices(layout, small, SPACE)) / weights
    assert 0.3 < share < 0.7


def test_probabilities_are_those_of_the_options():
    one = network()
    for own, (e3, e6, k5), (b8, b16) in zip(
        one.threshold_blocks(), [(-1, 1, 1), (1, -1, 1), (1, 1, -1)], [(-1, 1), (1, -1), (1, 1)], strict=True
    ):
        set_signs(own, e3=e3, e6=e6, k5=k5, b8=b8, b16=b16)
    paths, bits = one.probabilities()
    options = one.options()
    for number, option in enumerate(options):
        wanted = np.zeros(4)
        if number == 0 and one.threshold_blocks()[0].block.adds_input:
            assert option is None
        if option is not None:
            wanted[SPACE.paths.index(option[:2])] = 1
        assert paths[number].tolist() == wanted.tolist()
        if option is not None:
            assert bits[number].tolist() == [float(width == option.bits) for width in SPACE.bits]


def test_another_space_is_refused():
    with pytest.raises(
        ValueError, match=r"needs two kernels, two expansions and the bits 4, 8, 16; space one has \[3\]"
    ):
        ThresholdNet(Space("one", 4, 2, (Stage(4, 1),), 8, kernels=(3,)), (1, 16, 16), 3)
