"""Whether a network computes the same in two ways, judged beside how far float rounding alone moves its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from algo.nets.tracing import evaluating, tensors_in

FLOAT_ROUNDING = 1e-5  # of the largest number: what sums in another order may come to
_SUM_ROUNDING = 5e-7  # of a layer's inputs and outputs: float32 resolves 6e-8, and sums have thousands of products
_PERTURBED_RUNS = 4


def noise_like(images: Tensor, count: int) -> Tensor:
    """Images (count, ...) of noise within the range of given images (N, ...), some bright, some dark, some flat.

    Always the same ones. Whatever a layer does to its input shows in them, even where the given images are all zeros.
    """
    generator = torch.Generator().manual_seed(0)
    low, high = float(images.min()), float(images.max())
    if not low < high:
        low, high = low - 1, low + 1
    ends = torch.rand((count, 2), generator=generator).sort(1).values.view(count, 2, *[1] * (images.dim() - 1))
    pixels = torch.rand((count, *images.shape[1:]), generator=generator)
    noise = low + (high - low) * (ends[:, 0] + (ends[:, 1] - ends[:, 0]) * pixels)
    return noise.to(images.device, images.dtype)


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions in float32 on a GPU too, whose tensor cores would round to 10 bits."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=True, allow_tf32=False):
        yield


def outputs(model: nn.Module, images: Tensor, layers: Sequence[nn.Module] = ()) -> list[Tensor]:
    """What some layers make of images (N, ...), then what the model gives; in evaluation mode and `full_precision`."""
    found: list[Tensor] = []

    def keep(layer: nn.Module, given: object, made: object) -> None:
        found.extend(tensor.clone() for tensor in tensors_in(made))  # a later layer may change it

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with evaluating(model), full_precision():
            result = model(images.clone())  # which it may change
    finally:
        for handle in handles:
            handle.remove()
    return [*found, *tensors_in(result)]


def perturbed_outputs(model: nn.Module, images: Tensor, layers: Sequence[nn.Module] = ()) -> list[list[Tensor]]:
    """`outputs`, a few times, with noise the size of float rounding before and after every layer that has weights."""
    with _rounding_otherwise(model):
        return [outputs(model, images, layers) for _ in range(_PERTURBED_RUNS)]


@contextmanager
def _rounding_otherwise(model: nn.Module) -> Iterator[None]:
    generator = torch.Generator().manual_seed(1)

    def noisy(values: Tensor) -> Tensor:
        noise = torch.randn(values.shape, generator=generator).to(values.device, values.dtype)
        # Zeros stay: they have a level of their own.
        return torch.where(values == 0, values, values + _SUM_ROUNDING * values.square().mean().sqrt() * noise)

    handles = []
    for layer in [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]:
        handles.append(layer.register_forward_pre_hook(_on_input(noisy), with_kwargs=True))
        handles.append(layer.register_forward_hook(lambda _, given, made: noisy(made)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_input(change: Callable[[Tensor], Tensor]) -> Any:
    """A hook that changes a layer's input, given by place or by name."""

    def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if given:
            return (change(given[0]), *given[1:]), named
        return given, named | {"input": change(named["input"])}

    return hook


def moved(wanted: Sequence[Tensor], found: Sequence[Tensor], perturbed: Sequence[Sequence[Tensor]]) -> str | None:
    """How far any of some tensors lies from what was wanted, if that is beyond float rounding; else None.

    Args:
        wanted, found: `outputs` of one way and of the other.
        perturbed: `perturbed_outputs` of the first.
    """
    if [tensor.shape for tensor in wanted] != [tensor.shape for tensor in found]:
        return "outputs of other shapes"
    for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
        if not one.numel():
            continue
        one, other = one.double(), other.double()
        if not bool(one.isfinite().all()):
            return "numbers that are infinite or none, even before"
        largest, difference = float(one.abs().max()), float((other - one).abs().max())
        wobble = max(float((run[number] - one).abs().max()) for run in perturbed)
        if not difference <= FLOAT_ROUNDING * largest + 10 * wobble:  # nor does what is not a number
            return f"a difference of {difference:.3g} where the largest number is {largest:.3g}"
    return None
