"""Check that a network computes the same in two ways; differences are compared with those of float rounding alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from algo.nets.tracing import evaluating, tensors_in

FLOAT_ROUNDING = 1e-5  # of the largest number: how far sums in another order may differ
_SUM_ROUNDING = 5e-7  # of a layer's inputs and outputs: float32 resolves 6e-8, and sums have thousands of products
_PERTURBED_RUNS = 4


def noise_like(images: Tensor, count: int) -> Tensor:
    """Images (count, ...) of noise within the range of given images (N, ...), some bright, some dark, some flat.

    They are always the same. They show what a layer does to its input, even if the given images are all zeros.
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
    """Compute convolutions in float32 on a GPU too; its tensor cores would round to 10 bits."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=True, allow_tf32=False):
        yield


def outputs(model: nn.Module, images: Tensor, layers: Sequence[nn.Module] = ()) -> list[Tensor]:
    """Outputs of some layers for images (N, ...), then those of the model; in evaluation mode and `full_precision`."""
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
        # Zeros stay, because zero is a level.
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
    """How tensors differ from the wanted ones, in words, if float rounding cannot explain it; else None.

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
        if not difference <= FLOAT_ROUNDING * largest + 10 * wobble:  # also true for NaN
            return f"a difference of {difference:.3g} where the largest number is {largest:.3g}"
    return None
