"""Batch normalisation folded into the convolution or fully connected layer before it, its statistics frozen."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, fx, nn

from algo.quantisation import has_own_weights, is_layer
from algo.tracing import called, shape_of, trace


def fold_batch_norm(model: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Scale and shift the layers before batch normalisations instead of their outputs, in place.

    A normalisation in evaluation mode is y = (x - mean) · f + shift with f = scale / sqrt(variance + eps); the layer
    before it gets the weights w · f and the bias (b - mean) · f + shift, one f an output channel, and the
    normalisation becomes `nn.Identity`. In evaluation mode the network computes the same, up to float32's
    rounding. In training it no longer normalises by the batch: the running statistics are frozen into the weights.

    Quantised weights fall on the same levels as before, or where f is negative on their opposites, as every output
    channel has its own step and the levels are symmetric.

    Args:
        model: float or quantised; keeps its mode. Normalisations that do not follow a `nn.Conv2d` or `nn.Linear`
            directly, or follow one that is used elsewhere too, stay.
        images: a few that the model takes, on its device, for the shapes.

    Returns:
        Names of the layers and of the normalisations folded into them, in the order of the computation.

    Raises:
        ValueError: if there is nothing to fold, the tracer cannot follow the model, or a layer's weights are computed
            (it names the layer); nothing is changed then.
    """
    traced = trace(model, images)
    uses = Counter(str(node.target) for node in traced.graph.nodes if node.op == "call_module")
    pairs = []
    for node in traced.graph.nodes:
        before = node.args[0] if node.args else None
        if isinstance(before, fx.Node) and _foldable(traced, before, node):
            names = str(before.target), str(node.target)
            if len(before.users) == 1 and uses[names[0]] == uses[names[1]] == 1:
                pairs.append(names)
    if not pairs:
        raise ValueError(
            f"{type(model).__name__} has no batch normalisation that directly follows a Conv2d or Linear layer: "
            "leave folding out"
        )
    for layer, _ in pairs:
        if not has_own_weights(model.get_submodule(layer)):
            raise ValueError(
                f"layer {layer!r} computes its weights from others, so that no batch normalisation can be folded into "
                "them: make them its own first, with remove_parametrizations or prune.remove of torch.nn.utils, or "
                "leave folding out"
            )
    for layer, norm in pairs:
        _fold(model.get_submodule(layer), model.get_submodule(norm))
        model.set_submodule(norm, nn.Identity())
    return pairs


def _foldable(traced: fx.GraphModule, before: fx.Node, node: fx.Node) -> bool:
    layer, norm = called(traced, before), called(traced, node)
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or norm.running_mean is None:
        return False
    # Of more than two dimensions, a fully connected layer's features are the last and a normalisation's the second.
    return is_layer(layer) and (isinstance(layer, nn.Conv2d) or len(shape_of(before)) == 2)


@torch.no_grad()
def _fold(layer: nn.Module, norm: nn.Module) -> None:
    assert isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    # In double precision, so that only the results are rounded to single.
    factor = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    bias = -norm.running_mean.double() if layer.bias is None else layer.bias.double() - norm.running_mean.double()
    bias = bias * factor
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    by_channel = factor.view(-1, *[1] * (layer.weight.dim() - 1))
    layer.weight.copy_(layer.weight.double() * by_channel)
    if layer.bias is None:
        layer.bias = nn.Parameter(bias.to(layer.weight.dtype))
    else:
        layer.bias.copy_(bias)
