"""Blocks that are all their options: quantisation as published, and what their mixtures are made of."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from algo.nas.batch_norm import PartBatchNorm, batch_statistics, recalibrate
from algo.nas.space import Block
from algo.nas.superblocks import SuperKernel, fake_quantised, mixed, rounded

FINITE = st.floats(-10, 10, width=32)


def one_by_one(values: list[float], bits: int) -> list[float]:
    """r = S(q - Z) as the chapter prints it, a weight at a time in double precision."""
    high, low, most = max(*values, 0.0), min(*values, 0.0), 2**bits - 1
    step = (high - low) / most or 1.0
    zero = round(most - high / step)
    return [step * (min(max(round(value / step) + zero, 0), most) - zero) for value in values]


@settings(deadline=None)
@given(st.lists(FINITE, min_size=2, max_size=20), st.sampled_from((2, 4, 8)))
def test_weights_are_rounded_as_published(values: list[float], bits: int) -> None:
    got = fake_quantised(torch.tensor([values]), (bits,))[0, 0].numpy()
    step = (max(*values, 0) - min(*values, 0)) / (2**bits - 1)
    # A weight half-way between two levels may go either way.
    assert np.abs(got - one_by_one(values, bits)).max() <= 1.01 * step
    assert np.abs(got - values).max() <= 1.01 * step
    assert (got[np.array(values) == 0] == 0).all()
    assert len(np.unique(got)) <= 2**bits


def test_zero_and_the_ends_of_the_range_have_levels() -> None:
    for values in ([-1.0, 0.0, 2.0], [1.0, 2.0], [-3.0, -1.5], [-0.4, 1.0]):
        got = fake_quantised(torch.tensor([values]), (2, 8))[0]
        step = (max(*values, 0) - min(*values, 0)) / torch.tensor([[3.0], [255.0]])
        levels = got / step
        assert torch.allclose(levels, levels.round(), atol=1e-3)
        span = levels.amax(1).clamp_min(0) - levels.amin(1).clamp_max(0)
        assert torch.allclose(span, torch.tensor([3.0, 255.0]), atol=1e-3), values


def test_ends_half_way_between_two_levels_do_not_take_a_level_too_many() -> None:
    levels = fake_quantised(torch.tensor([[-1.0, 1.0]]), (2,))[0, 0] / (2 / 3)
    assert levels.tolist() == pytest.approx([-2, 1])


def test_weights_are_rounded_as_pytorch_does_it() -> None:
    weights = torch.randn(3, 500, generator=torch.Generator().manual_seed(1))
    for row, versions in zip(weights, fake_quantised(weights, (4, 8, 16)), strict=True):
        for bits, version in zip((4, 8, 16), versions, strict=True):
            most = 2**bits - 1
            step = float(row.max() - row.min()) / most
            zero = round(most - float(row.max()) / step)
            wanted = torch.fake_quantize_per_tensor_affine(row, step, zero, 0, most)
            assert (version - wanted).abs().max() < 0.01 * step
    assert not fake_quantised(torch.zeros(1, 4), (4,)).any()


def test_a_mixture_of_masked_weights_has_the_gradients_of_its_sum() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 4, generator=generator, requires_grad=True)
    shares = torch.rand(2, 2, generator=generator, requires_grad=True)
    masks = torch.ones(2, 12)
    masks[0, 6:] = 0
    outer = torch.randn(3, 4, generator=generator)
    got = mixed(weight, shares, masks, (2, 8))
    (got * outer).sum().backward()
    parts = [
        (place, fake_quantised((weight.detach().reshape(1, -1) * masks[place[0]]), (2, 8))[0, place[1]].view(3, 4))
        for place in itertools.product(range(2), range(2))
    ]
    assert torch.allclose(got, sum(shares.detach()[place] * part for place, part in parts))  # type: ignore[arg-type]
    assert weight.grad is not None and shares.grad is not None
    for place, part in parts:
        assert torch.allclose(shares.grad[place], (part * outer).sum())
    passed = (shares.detach().sum(1)[:, None] * masks).sum(0).view(3, 4)
    assert torch.allclose(weight.grad, outer * passed)


def super_kernel(stride: int, seed: int = 1) -> SuperKernel:
    torch.manual_seed(seed)
    return SuperKernel(Block("1.1", 4, 6, stride, (9, 8)), (3, 5), (3, 6), (4, 8, 16))


def images(seed: int = 1) -> Tensor:
    return torch.randn(8, 4, 9, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("path", range(4))
def test_a_mixture_that_is_certain_is_the_one_network(stride: int, path: int) -> None:
    kernel = super_kernel(stride)
    paths, bits = torch.eye(4)[path], torch.eye(3)[1]
    assert torch.allclose(kernel.mixed(images(), paths, bits), kernel.single(images(), path, 8), atol=1e-4)
    size, between = (kernel.weight("depthwise", path).shape[-1], len(kernel.weight("expand", path)))
    assert (size, between // 4) == kernel.paths[path]


def test_every_option_has_a_gradient_in_the_mixture() -> None:
    kernel = super_kernel(1)
    paths = torch.full((4,), 0.25, requires_grad=True)
    bits = torch.full((3,), 1 / 3, requires_grad=True)
    kernel.mixed(images(), paths, bits).square().sum().backward()
    for share in (paths, bits):
        assert share.grad is not None and share.grad.isfinite().all() and len(share.grad.unique()) == len(share)
    assert all(value.grad is not None and value.grad.any() for value in kernel.parameters())


def test_rounding_a_whole_weight_passes_the_gradient() -> None:
    weight = torch.tensor([0.0, 0.3, 1.0], requires_grad=True)
    (rounded(weight, 2) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert rounded(weight, 2).tolist() == pytest.approx([0, 1 / 3, 1])
    assert weight.grad is not None and weight.grad.tolist() == [1, 2, 3]


def test_averages_are_those_of_the_batches_and_only_of_the_channels_in_use() -> None:
    norm = PartBatchNorm(4)
    batches = [torch.randn(16, 3, 2, 2, generator=torch.Generator().manual_seed(seed)) + seed for seed in range(3)]
    norm(torch.full((2, 4, 2, 2), 100.0))
    assert recalibrate(norm, batches) == 3
    assert norm.running_mean is not None and norm.running_var is not None
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variances = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, torch.cat([means, torch.zeros(1)]), atol=1e-6)
    assert torch.allclose(norm.running_var, torch.cat([variances, torch.ones(1)]), atol=1e-5)
    assert not norm.training and norm.momentum == 0.1
    with pytest.raises(ValueError, match="at least one batch"):
        recalibrate(norm, [])


def test_statistics_of_a_batch_leave_the_averages_alone() -> None:
    norm = PartBatchNorm(2).eval()
    values = torch.randn(64, 2, 3, 3, generator=torch.Generator().manual_seed(1)) * 5 + 3
    with batch_statistics(norm):
        made = norm(values)
    assert made.mean().abs() < 1e-5 and (made.std() - 1).abs() < 1e-2
    assert torch.allclose(norm(values), values, atol=1e-3)  # its averages are still 0 and 1
    assert not norm.training and norm.momentum == 0.1
