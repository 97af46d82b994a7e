"""Learning-rate schedules: k-decay against the cosine it comes from, and that training follows them."""

from __future__ import annotations

import doctest
import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from algo.nets.train import learning_rate
from algo.nets.train.learning_rate import k_decay, scheduler
from algo.nets.train.sgd import train
from algo.nets.training_config import LEARNING_RATE_SCHEDULES, TrainingConfig

STEPS, POWERS = st.integers(1, 60), st.floats(0.1, 10)


def rates(schedule: str, steps: int, k: float = 1.0, rate: float = 0.1) -> list[float]:
    """The step size of every step, as an optimiser sees it."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], rate)
    falling = scheduler(optimiser, schedule, steps, k)
    seen = []
    for _ in range(steps):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if falling is not None:
            falling.step()
    return seen


@given(STEPS)
def test_k_decay_of_1_is_the_cosine(steps: int) -> None:
    assert rates("k-decay", steps, 1.0) == pytest.approx(rates("cosine", steps), rel=1e-9, abs=1e-12)


@given(st.sampled_from(LEARNING_RATE_SCHEDULES), STEPS, POWERS)
def test_step_sizes_begin_at_the_first_never_rise_and_stay_above_0(schedule: str, steps: int, k: float) -> None:
    seen = rates(schedule, steps, k)
    assert seen[0] == 0.1 and min(seen) > 0
    assert all(after <= before for before, after in itertools.pairwise(seen))
    if schedule != "constant" and steps > 1:
        assert seen[-1] < seen[0]


@given(st.integers(2, 60), POWERS, st.floats(1.01, 2))
def test_a_larger_k_keeps_the_step_size_up_for_longer(steps: int, k: float, times: float) -> None:
    less, more = rates("k-decay", steps, k), rates("k-decay", steps, k * times)
    assert all(one <= other for one, other in zip(less, more, strict=True)) and less != more


def test_k_decay_is_the_published_formula() -> None:
    # t = 3, T = 4, k = 2: the cosine at 9/16 of its half period
    assert rates("k-decay", 4, 2.0)[3] == pytest.approx(0.05 * (1 + math.cos(math.pi * 9 / 16)))
    assert k_decay(4, 4, 2.0) == 0


def test_a_schedule_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match=r"one of constant, cosine, k-decay, not 'step'"):
        rates("step", 3)
    with pytest.raises(ValueError, match=r"^lr_schedule must be one of constant, cosine, k-decay, not 'step'$"):
        TrainingConfig(lr_schedule="step")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^lr_k \(--k\) must be above 0 and at most 100, not 0$"):
        TrainingConfig(lr_k=0.0)


def trained(schedule: str, k: float) -> torch.Tensor:
    """Weights after four steps of plain gradient descent."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    images, labels = torch.randn(8, 3), torch.arange(8) % 2
    config = replace(TrainingConfig(), momentum=0.0, weight_decay=0.0, lr_k=k)
    train(model, images, labels, config, 2, 4, 0.5, torch.Generator().manual_seed(1), schedule)
    return model.weight.detach()


def test_training_follows_the_schedule_and_its_power() -> None:
    cosine = trained("cosine", 2.0)
    assert torch.allclose(trained("k-decay", 1.0), cosine, atol=1e-6)
    assert not torch.allclose(trained("k-decay", 3.0), cosine, atol=1e-3)
    assert not torch.allclose(trained("constant", 1.0), cosine, atol=1e-3)


def test_examples_in_docstrings_are_true() -> None:
    assert doctest.testmod(learning_rate).failed == 0
