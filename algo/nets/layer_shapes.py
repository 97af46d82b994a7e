"""The layer shapes of any network: what a chip wants to know of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from algo.nets.quantisation import weight_layers
from algo.nets.tracing import evaluating
from algo.space.layers import Geometry, LayerShape


def _geometry(module: nn.Conv2d | nn.Linear, given: Tensor, made: Tensor) -> Geometry | None:
    """Loops of a layer for one image; ``None`` for padding that only PyTorch knows by name."""
    if isinstance(module, nn.Linear):
        rows = (given.numel() // module.in_features, 1)
        return Geometry(module.in_features, module.out_features, rows, rows, linear=True)
    if isinstance(module.padding, str):
        return None
    return Geometry(
        module.in_channels,
        module.out_channels,
        input_size=_pair(given.shape[-2:]),
        output_size=_pair(made.shape[-2:]),
        kernel=_pair(module.kernel_size),
        stride=_pair(module.stride),
        padding=_pair(module.padding),
        dilation=_pair(module.dilation),
        groups=module.groups,
    )


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    height, width = sizes
    return height, width


def layer_shapes(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[LayerShape, ...]:
    """Work and storage of every layer that has bit-widths (`algo.nets.quantisation.weight_layers`), for one image.

    They are measured by running one image of zeros through the model, so any forward function works. Layers are in
    order of registration, as in a policy.

    Args:
        model: any module; every layer's mode (training or not) is put back.
        input_shape: shape of one image without the batch dimension, such as (3, 32, 32).

    Raises:
        ValueError: if the model has no such layer, one that cannot be quantised, or one that this forward pass never
            reached; the layer is named.
    """
    layers = weight_layers(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Conv2d or Linear layer whose bit-width could be tuned")
    found: dict[str, LayerShape] = {}

    def record(name: str, module: nn.Conv2d | nn.Linear, given: Tensor, made: Tensor) -> None:
        weights = module.weight.numel()
        # Every output position of a convolution, and every row a Linear is applied to, uses each weight once.
        macs = made.numel() // module.weight.shape[0] * weights
        called = name or type(module).__name__  # of a model that is a single layer
        layer = LayerShape(called, macs, weights, given.numel(), made.numel(), _geometry(module, given, made))
        found[name] = found[name].and_again(layer) if name in found else layer

    def hook(name: str, module: nn.Conv2d | nn.Linear) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_hook(
            lambda _, given, named, made: record(name, module, given[0] if given else named["input"], made),
            with_kwargs=True,
        )

    handles = [hook(name, module) for name, module in layers]
    try:
        with evaluating(model):
            model(torch.zeros((1, *input_shape), device=layers[0][1].weight.device))
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name, _ in layers if name not in found]
    if missing:
        raise ValueError(f"a forward pass of {type(model).__name__} never reached layer {missing[0]!r}")
    return tuple(found[name] for name, _ in layers)
