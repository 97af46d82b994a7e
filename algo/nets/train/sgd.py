"""Stochastic gradient descent for pre-training and retraining, reproducible from run to run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import deterministic
from tqdm import tqdm

from algo.nets.registry import naming_users_line
from algo.nets.train.augment import Change
from algo.nets.train.learning_rate import scheduler
from algo.nets.training_config import LearningRateSchedule, Precision, TrainingConfig

_deterministic: Any = deterministic  # a module whose one setting no type checker sees
_TEST_BATCH = 512  # images tested at once; limits memory, does not change results


@dataclass(frozen=True)
class StepInfo:
    """What `train` tells its hook before every step.

    Attributes:
        model: the network, in training mode.
        optimiser: its parameter groups hold the step size that the schedule chose for this step.
        epoch: passes over the images that are complete, from 0.
        step: batches of all epochs before this one, 0..steps-1.
        steps: batches of all epochs.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    epoch: int
    step: int
    steps: int


#: What a training minimises: a scalar, from what the model gives for a batch and the labels of the batch (N,).
Loss = Callable[[Any, Tensor], Tensor]


@naming_users_line()
def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: TrainingConfig,
    epochs: int,
    batch_size: int,
    rate: float,
    generator: torch.Generator,
    schedule: LearningRateSchedule = "constant",
    label: str = "",
    *,
    loss: Loss = functional.cross_entropy,
    on_step: Callable[[StepInfo], None] | None = None,
    change: Change | None = None,
) -> None:
    """Train all parameters of a model in place, on the device where model and images are.

    A search that trains more than weights passes two methods of one object: ``on_step`` notes how far the training is
    and sets what depends on it (bit-widths, a temperature, which parameters learn); ``loss`` adds terms to the
    cross-entropy, such as a latency that depends on the model's own parameters.

    Args:
        model: any; it is left in training mode.
        images: (N, ...), laid out as the model wants them (`suited_layout`).
        labels: (N,).
        config: momentum, weight decay, the power of ``k-decay`` and the precision.
        epochs: passes over the images.
        batch_size: images per step; a single last image is left out, because batch normalisation needs two.
        rate: first step size.
        generator: on the CPU; the order of the images is drawn from it.
        schedule: of the step size over all steps.
        label: of a progress bar, which is shown only with a label and a terminal.
        loss: what is minimised.
        on_step: called before every step, before the model sees the batch.
        change: of the images of every step (`algo.nets.train.augment`); draws from ``generator``.
    """
    optimiser = torch.optim.SGD(
        model.parameters(),
        rate,
        config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
        foreach=True,  # the same numbers with less overhead
    )
    batches = -(-len(images) // batch_size)
    steps = max(1, epochs * batches)
    falling = scheduler(optimiser, schedule, steps, config.lr_k)
    model.train()
    with tqdm(total=steps, desc=label, unit="batch", leave=False, disable=None if label else True) as bar:
        for epoch in range(epochs):
            # Drawn on the CPU: runs on every device draw the same.
            order = torch.randperm(len(images), generator=generator).to(images.device)
            for number, chosen in enumerate(order.split(batch_size)):
                bar.update()
                if len(chosen) < 2:
                    continue
                if on_step is not None:
                    on_step(StepInfo(model, optimiser, epoch, epoch * batches + number, steps))
                optimiser.zero_grad(set_to_none=True)
                shown = images[chosen] if change is None else change(images[chosen], generator)
                with computing_in(config.precision, images.device):
                    lost = loss(model(shown), labels[chosen])
                lost.backward()
                optimiser.step()
                if falling:
                    falling.step()


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise ValueError, which says what to do, if layers cannot be trained in a precision on a device."""
    if precision == "float32":
        return
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
    else:  # without oneDNN's kernels it would be many times slower
        able = (
            device.type == "cpu"
            and torch.backends.mkldnn.is_available()
            and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        )
    if not able:
        raise ValueError(f"this machine cannot train in bfloat16 on {device.type}: take --precision float32")


def computing_in(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Layers compute in a precision, from parameters in float32, while this lasts."""
    return contextlib.nullcontext() if precision == "float32" else torch.autocast(device.type, torch.bfloat16)


@naming_users_line()
def accuracy_of(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Fraction of the images the model classifies rightly, 0..1."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for some, wanted in zip(images.split(_TEST_BATCH), labels.split(_TEST_BATCH), strict=True):
            right += int((model(some).argmax(1) == wanted).sum())
    return right / len(images)


@contextlib.contextmanager
def reproducible(threads: int, device: torch.device | None = None) -> Iterator[None]:
    """Set torch to ``threads`` threads and deterministic kernels; put its settings back at the end.

    On another ``device`` than the CPU an operation that has no deterministic kernel there warns.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = _deterministic.fill_uninitialized_memory
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=device is not None and device.type != "cpu")
    # Filling memory that is about to be overwritten costs a tenth of the time and only finds bugs in kernels.
    _deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=warn)
        _deterministic.fill_uninitialized_memory = fill


def tensors(
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    device: torch.device | None = None,
    layout: torch.memory_format = torch.channels_last,
) -> tuple[Tensor, Tensor]:
    """The arrays as tensors on a device, images in the layout of the network that they are for (`suited_layout`)."""
    return _laid_out(torch.from_numpy(images), layout).to(device), torch.from_numpy(labels).long().to(device)


def suited_layout(model: nn.Module, image_shape: tuple[int, ...], device: torch.device) -> torch.memory_format:
    """The order of values in memory that a network is trained in: channels last if it can, else PyTorch's usual one.

    Convolutions are faster in channels last. But code such as ``x.view(x.size(0), -1)`` fails there, and code that
    reads ``x.stride()`` may compute something else. So two random images go through the network in either layout,
    there and back: it is trained in channels last if that runs and gives what the usual layout gives, or if the usual
    layout does not run. The answer depends on the network, the images' shape and the device alone.

    Args:
        model: float, any mode; moved to the device in the layout found, else unchanged.
        image_shape: of one image, without the batch dimension.
        device: where it is to be trained.

    Raises:
        Exception: whatever the network raises in both layouts, as it does in the usual one.
    """
    images = torch.rand((2, *image_shape), generator=torch.Generator().manual_seed(1))
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    modes = {module: module.training for module in model.modules()}

    def logits(layout: torch.memory_format) -> Tensor | Exception:
        try:
            model.to(device, memory_format=layout)  # type: ignore[call-overload]
            given = _laid_out(images, layout).to(device)
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(1)
                model.eval()
                with torch.no_grad():
                    made: Tensor = model(given)
                model.train()
                model(given).sum().backward()
        except Exception as error:  # whatever the code of a network raises for another layout of its tensors
            return error
        finally:
            model.load_state_dict(state)
            model.zero_grad()
            for module, training in modes.items():
                module.training = training
        return made

    usual, last = logits(torch.contiguous_format), logits(torch.channels_last)
    if isinstance(last, Exception):
        if isinstance(usual, Exception):
            raise usual
        chosen = torch.contiguous_format
    else:
        chosen = torch.channels_last if isinstance(usual, Exception) or _same(last, usual) else torch.contiguous_format
    model.to(device, memory_format=chosen)  # type: ignore[call-overload]
    return chosen


def _laid_out(images: Tensor, layout: torch.memory_format) -> Tensor:
    return images.contiguous(memory_format=layout) if images.dim() == 4 else images


def _same(some: Tensor, others: Tensor) -> bool:
    """Whether logits are equal except for the order of sums."""
    if some.shape != others.shape:
        return False
    greatest = float(others.nan_to_num().abs().max())
    return torch.allclose(some, others, rtol=0, atol=1e-3 * greatest, equal_nan=True)
