from __future__ import annotations

import copy
import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from algo.nets import quantisation
from algo.nets.models.mobilenetv2 import MobileNetV2
from algo.nets.models.resnet34 import ResNet34
from algo.nets.models.vgg8 import VGG8
from algo.nets.quantisation import (
    QuantisedConv2d,
    QuantisedLinear,
    model_size_bytes,
    quantise,
    quantise_activations,
    quantise_activations_learned,
    quantise_weights,
    quantised_layers,
    set_bits,
)
from algo.nets.train.sgd import reproducible

weights = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.floats(-4, 4, width=32, allow_subnormal=False),
)
WIDTHS = st.integers(2, 8)


def small() -> nn.Module:
    torch.manual_seed(0)
    return quantise(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)))


@given(weights, WIDTHS)
def test_weights_fall_on_few_levels_symmetric_about_zero(values: np.ndarray, bits: int) -> None:
    weight = torch.from_numpy(values)
    rounded = quantise_weights(weight, bits)
    largest = 2 ** (bits - 1) - 1
    for channel, original in zip(rounded, weight, strict=True):
        positive = channel[channel != 0].abs()
        assert len(positive.unique()) <= largest
        if len(positive):
            # Every level is a multiple of one step, and the step is known from the channel alone.
            if bits < 8:
                step = original.abs().mean() * quantisation._STEP_OF_MEAN[bits]
            else:
                step = original.abs().max() / largest
            multiples = channel / step
            assert torch.allclose(multiples, multiples.round(), atol=1e-4)
            assert multiples.abs().max() <= largest + 1e-4
    assert torch.equal(quantise_weights(-weight, bits), -rounded)


@given(weights)
def test_eight_bits_err_by_at_most_half_a_step(values: np.ndarray) -> None:
    weight = torch.from_numpy(values)
    step = weight.abs().amax(1, keepdim=True) / 127
    assert torch.all((quantise_weights(weight, 8) - weight).abs() <= step * 0.501 + 1e-9)


def test_two_bits_are_three_levels_and_fit_a_gaussian_as_well_as_any_step() -> None:
    torch.manual_seed(0)
    weight = torch.randn(1, 100_000)
    rounded = quantise_weights(weight, 2)
    assert len(rounded.unique()) == 3
    error = float((rounded - weight).square().mean())
    assert error == pytest.approx(0.1902, abs=0.003)  # Max (1960): the least for 3 uniform levels


def test_step_sizes_below_eight_bits_are_near_the_least_error_of_a_gaussian() -> None:
    torch.manual_seed(0)
    weight = torch.randn(1, 50_000)
    mean, largest = weight.abs().mean(), {bits: 2 ** (bits - 1) - 1 for bits in range(2, 8)}
    for bits, factor in quantisation._STEP_OF_MEAN.items():

        def error(scale: float, top: int = largest[bits], factor: float = factor) -> float:
            step = mean * factor * scale
            return float(((weight / step).round().clamp(-top, top) * step - weight).square().mean())

        assert error(1) <= 1.02 * min(error(0.01 * scale) for scale in range(80, 125, 2)), bits


def test_weights_get_the_gradient_of_what_replaced_them() -> None:
    weight = torch.tensor([[0.3, -5.0, 0.0, 1.0]], requires_grad=True)
    wanted = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    (quantise_weights(weight, 2) * wanted).sum().backward()
    assert torch.equal(weight.grad, wanted)  # saturated weights too


@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-3, 5, width=32, allow_subnormal=False)),
    st.floats(-2, 0),
    st.floats(0.25, 4),
    WIDTHS,
)
def test_activations_fall_on_the_levels_of_their_range(values: np.ndarray, low: float, high: float, bits: int) -> None:
    given_values = torch.from_numpy(values)
    rounded = quantise_activations(given_values, torch.tensor(low), torch.tensor(high), bits)
    step = (high - low) / (2**bits - 1)
    assert torch.allclose(rounded / step, (rounded / step).round(), atol=1e-2)
    assert len(rounded.unique()) <= 2**bits
    assert rounded.max() - rounded.min() <= high - low + 1e-4
    # Rounding zero to a level moves the range's ends by up to half a step, rounding itself another half.
    within = (given_values >= low + step / 2) & (given_values <= high - step / 2)
    assert torch.all((rounded - given_values)[within].abs() <= step * 0.51)


@given(st.floats(-2, 0), st.floats(0, 4), WIDTHS)
def test_zero_stays_exactly_zero(low: float, high: float, bits: int) -> None:
    assert quantise_activations(torch.zeros(1), torch.tensor(low), torch.tensor(high), bits).item() == 0


def test_activations_beyond_the_range_pass_no_gradient() -> None:
    values = torch.tensor([-1.0, 0.5, 3.0], requires_grad=True)
    quantise_activations(values, torch.tensor(0.0), torch.tensor(1.0), 4).sum().backward()
    assert values.grad.tolist() == [0, 1, 0]


def test_range_follows_the_first_batch_then_a_moving_average_and_rests_in_testing() -> None:
    layer = quantise(nn.Sequential(nn.Linear(2, 1)))[0]
    layer(torch.tensor([[-1.0, 2.0], [0.0, 4.0]]))
    assert (layer.low.item(), layer.high.item()) == (-1, 4)
    layer(torch.tensor([[1.0, 2.0], [0.0, 2.0]]))
    assert layer.low.item() == pytest.approx(-0.9)
    assert layer.high.item() == pytest.approx(3.8)
    layer.eval()
    layer(torch.full((1, 2), 100.0))
    assert layer.high.item() == pytest.approx(3.8)


RANGES = st.tuples(st.floats(-2, 0), st.floats(0.25, 4))


@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-3, 5, width=32, allow_subnormal=False)),
    RANGES,
    WIDTHS,
)
def test_learned_clips_round_to_the_same_numbers(values: np.ndarray, clips: tuple[float, float], bits: int) -> None:
    given_values, low, high = torch.from_numpy(values), *map(torch.tensor, clips)
    learned = quantise_activations_learned(given_values, low, high, bits)
    assert torch.equal(learned, quantise_activations(given_values, low, high, bits))


@given(st.lists(st.floats(-3, 5), min_size=1, max_size=12), RANGES, WIDTHS, st.integers(0, 99))
def test_gradients_of_clips_are_those_of_finite_differences(
    values: list[float], clips: tuple[float, float], bits: int, seed: int
) -> None:
    """In double precision, of the function that LSQ differentiates: rounding errors kept as they are at this point."""
    generator, levels = np.random.default_rng(seed), 2**bits - 1
    x, upstream = np.array(values), generator.normal(size=len(values))
    step = (clips[1] - clips[0]) / levels
    zero = np.clip(np.round(-clips[0] / step), 0, levels)
    ends = np.abs(x / step + zero - np.array([[-0.5], [levels + 0.5]]))
    halves = np.abs((x / step) % 1 - 0.5)
    if min(ends.min(), halves.min(), abs((-clips[0] / step) % 1 - 0.5)) < 1e-3:
        return  # float32 may round another way than double

    error, zero_error = np.round(x / step) - x / step, zero - -clips[0] / step
    inside = (np.round(x / step) + zero >= 0) & (np.round(x / step) + zero <= levels)

    def rounded(low: float, high: float) -> np.ndarray:
        step = (high - low) / levels
        zero = -low / step + zero_error
        end = np.where(np.round(x / step) + zero < 0, 0.0, levels)
        return np.where(inside, (x / step + error) * step, (end - zero) * step)

    low, high = (torch.tensor(clip, dtype=torch.float32, requires_grad=True) for clip in clips)
    exact = torch.tensor(x, dtype=torch.float32)
    made = quantise_activations_learned(exact, low, high, bits)
    (made * torch.tensor(upstream, dtype=torch.float32)).sum().backward()
    little = 1e-6
    for got, move in ((low.grad, (little, 0)), (high.grad, (0, little))):
        ahead = rounded(clips[0] + move[0], clips[1] + move[1])
        behind = rounded(clips[0] - move[0], clips[1] - move[1])
        wanted = float(((ahead - behind) / (2 * little) * upstream).sum())
        assert float(got) == pytest.approx(wanted, abs=2e-3 * (1 + np.abs(upstream).sum()))


def test_a_value_beyond_a_clip_moves_that_clip_as_in_pact() -> None:
    low, high = torch.tensor(-1.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    values = torch.tensor([3.0, 4.0, -5.0], requires_grad=True)
    quantise_activations_learned(values, low, high, 8).backward(torch.tensor([1.0, 10.0, 100.0]))
    assert float(high.grad) == pytest.approx(11) and float(low.grad) == pytest.approx(100)
    assert values.grad.tolist() == [0, 0, 0]


def test_learned_clips_begin_at_the_first_batch_and_are_trained_from_then_on() -> None:
    model = quantise(nn.Sequential(nn.Linear(2, 1)), "lsq")
    assert {name for name, _ in model.named_parameters()} == {"0.weight", "0.bias", "0.low", "0.high"}
    layer = model[0]
    model(torch.tensor([[-1.0, 2.0], [0.0, 4.0]]))
    assert (layer.low.item(), layer.high.item()) == (-1, 4)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    layer.weight.data.fill_(1.0)
    (-model(torch.tensor([[0.0, 9.0]]))).sum().backward()  # a larger output wanted: the clip must rise
    optimiser.step()
    assert layer.high.item() > 4 and layer.low.item() == pytest.approx(-1, abs=0.01)
    model.eval()(torch.full((1, 2), 100.0))
    assert layer.high.item() < 5


def test_learned_clips_take_up_observed_ranges_and_the_other_way_round() -> None:
    observed = small()
    observed(torch.randn(8, 1, 4, 4))
    learned = quantise(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)), "lsq")
    learned.load_state_dict(observed.state_dict())
    images = torch.randn(8, 1, 4, 4)
    assert torch.equal(learned.eval()(images), observed.eval()(images))
    observed.load_state_dict(learned.state_dict())
    with pytest.raises(ValueError, match="activations must be one of minmax, lsq, not 'pact'"):
        quantise(nn.Linear(1, 1), "pact")


def test_clips_that_training_drove_past_zero_are_taken_as_zero() -> None:
    values = torch.tensor([0.5, 3.0])
    past = quantise_activations_learned(values, torch.tensor(0.3), torch.tensor(2.0), 4)
    assert torch.equal(past, quantise_activations(values, torch.tensor(0.0), torch.tensor(2.0), 4))
    layer = quantise(nn.Sequential(nn.Linear(2, 1)), "lsq")[0]
    layer.low.data.fill_(0.3)
    layer.high.data.fill_(2.0)
    assert (int(layer.input_levels().zero), float(layer.input_levels().step)) == (0, pytest.approx(2 / 255))


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=6),
        elements=st.floats(-300, 500, width=32, allow_subnormal=False),
    ),
    RANGES,
    st.integers(2, 16),
    st.booleans(),
)
def test_rounding_and_its_gradient_are_to_the_bit_those_of_the_kernel_of_pytorch(
    values: np.ndarray, ends: tuple[float, float], bits: int, last: bool
) -> None:
    low, high = map(torch.tensor, ends)
    levels = quantisation.activation_levels(low, high, bits)
    given_values = torch.from_numpy(values)
    if last and values.ndim == 4:
        given_values = given_values.contiguous(memory_format=torch.channels_last)
    upstream = torch.linspace(-1, 2, values.size).view(values.shape)
    ours, theirs = (given_values.clone().requires_grad_() for _ in range(2))
    made = quantise_activations(ours, low, high, bits)
    wanted = torch.fake_quantize_per_tensor_affine(theirs, levels.step, levels.zero, 0, levels.largest)
    made.backward(upstream)
    wanted.backward(upstream)
    assert torch.equal(made, wanted) and torch.equal(ours.grad, theirs.grad)
    assert torch.equal(quantise_activations(given_values, low, high, bits), wanted)  # without a gradient


class Scalar(quantisation._Quantised):
    """How layers rounded their input before they did it in several passes: the reference of the next test."""

    def _quantise_input(self, values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            if self.training:
                low, high = torch.aminmax(values)
                share = torch.where(self.seen, quantisation.RANGE_MOMENTUM, 1.0)
                self.low.lerp_(low.clamp_max(0), share)
                self.high.lerp_(high.clamp_min(0), share)
                self.seen.fill_(True)
            levels = quantisation.activation_levels(self.low, self.high, self.activation_bits)
        return torch.fake_quantize_per_tensor_affine(values, levels.step, levels.zero, 0, levels.largest)


class ScalarConv2d(Scalar, QuantisedConv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight = quantise_weights(self.weight, self.weight_bits)
        return self._conv_forward(self._quantise_input(input), weight, self.bias)


class ScalarLinear(Scalar, QuantisedLinear):
    pass


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["last", "usual"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [VGG8, MobileNetV2, ResNet34])
def test_training_gives_the_same_bits_as_with_the_kernel_of_pytorch(
    kind: type[nn.Module], channels: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(1)
    model = quantise(kind(10, channels, 4)).to(memory_format=layout).train()
    before = copy.deepcopy(model)
    for _, layer in quantised_layers(before):
        layer.__class__ = ScalarConv2d if isinstance(layer, QuantisedConv2d) else ScalarLinear
    drawn, count = np.random.default_rng(1), len(quantised_layers(model))
    models = model, before
    optimisers = [torch.optim.SGD(one.parameters(), 0.05) for one in models]
    images = [torch.randn(8, channels, 32, 32).mul(scale).contiguous(memory_format=layout) for scale in (1, 3, 2)]
    with reproducible(1):
        for given_images in images:
            bits = drawn.integers(2, 17, (2, count)).tolist()
            for one, optimiser in zip(models, optimisers, strict=True):
                set_bits(one, *bits)
                optimiser.zero_grad()
                one(given_images).square().mean().backward()
                optimiser.step()
            for ours, theirs in zip(model.parameters(), before.parameters(), strict=True):
                assert torch.equal(ours.grad, theirs.grad)
            state, wanted = model.state_dict(), before.state_dict()
            assert all(torch.equal(value, wanted[name]) for name, value in state.items())
        assert torch.equal(model.eval()(images[0]), before.eval()(images[0]))


def test_quantise_keeps_parameters_and_order() -> None:
    model = VGG8(10)
    before = dict(model.named_parameters())
    assert quantise(model) is model
    assert all(value is before[name] for name, value in model.named_parameters())
    kinds = [type(layer) for _, layer in quantised_layers(model)]
    assert kinds == [QuantisedConv2d] * 6 + [QuantisedLinear] * 2


def test_quantise_refuses_a_model_without_layers() -> None:
    with pytest.raises(ValueError, match="ReLU has no Conv2d or Linear layer"):
        quantise(nn.ReLU())


def test_eight_and_sixteen_bits_are_close_to_the_float_model_and_two_is_not() -> None:
    model = small()
    exact = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    exact.load_state_dict(model.state_dict(), strict=False)
    images = torch.randn(8, 1, 4, 4)
    wanted = exact(images)
    errors = {}
    for bits in (2, 4, 8, 16):
        set_bits(model, (bits,) * 2, (bits,) * 2)
        errors[bits] = ((model(images) - wanted).norm() / wanted.norm()).item()
    assert errors[2] > 0.3 > errors[4] > 0.03 > errors[8] > 0.0005 > errors[16]


@settings(max_examples=20)
@given(st.tuples(WIDTHS, WIDTHS), st.tuples(WIDTHS, WIDTHS))
def test_bits_can_be_changed_and_changed_back(first: tuple[int, int], second: tuple[int, int]) -> None:
    model = small().eval()
    for _, layer in quantised_layers(model):
        layer.low.fill_(-2)
        layer.high.fill_(2)
    images = torch.linspace(-2, 2, 32).view(2, 1, 4, 4)
    set_bits(model, first, second)
    wanted = model(images)
    weights_before = copy.deepcopy(model.state_dict())
    set_bits(model, second, first)
    changed = model(images)
    assert first == second or not torch.equal(changed, wanted)
    set_bits(model, first, second)
    assert torch.equal(model(images), wanted)
    assert all(torch.equal(value, weights_before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "message"),
    [
        ((8,), (8, 8), r"1 weight bits for 2 quantised layers \(0, 3\)"),
        ((8, 8), (8, 8, 8), "3 activation bits for 2 quantised layers"),
        ((8, 1), (8, 8), r"weight bits of layer '3' must be an integer in 2\.\.16, not 1"),
        ((8, 8), (17, 8), r"activation bits of layer '0' must be an integer in 2\.\.16, not 17"),
        ((8, 4.0), (8, 8), r"weight bits of layer '3' must be an integer in 2\.\.16, not 4\.0"),
    ],
)
def test_wrong_bits_are_named_and_change_nothing(
    weight_bits: tuple[int, ...], activation_bits: tuple[int, ...], message: str
) -> None:
    model = small()
    set_bits(model, (2, 4), (4, 8))
    with pytest.raises(ValueError, match=message):
        set_bits(model, weight_bits, activation_bits)
    now = [(layer.weight_bits, layer.activation_bits) for _, layer in quantised_layers(model)]
    assert now == [(2, 4), (4, 8)]


def test_model_size_counts_packed_weights_layer_by_layer() -> None:
    model = small()  # 36 and 192 weights
    assert model_size_bytes(model, (8, 8)) == 36 + 192
    assert model_size_bytes(model, (2, 4)) == 9 + 96
    assert model_size_bytes(model, (3, 2)) == 14 + 48  # 108 bits are 13.5 bytes
    with pytest.raises(ValueError, match="1 weight bit-widths for 2 quantised layers"):
        model_size_bytes(model, (8,))


def test_examples_in_docstrings_are_true() -> None:
    assert doctest.testmod(quantisation, extraglobs={"torch": torch}).failed == 0
