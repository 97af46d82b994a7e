"""Fold batch normalisation into the convolution or fully connected layer before it; its statistics are frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from algo.nets.quantisation import has_own_weights, is_layer, quantised_layers
from algo.nets.same_outputs import moved, noise_like, outputs, perturbed_outputs
from algo.nets.tracing import called, shape_of, trace
from sim.devices.shadow import Disagreement


def fold_batch_norm(model: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Scale and shift the layers before batch normalisations instead of their outputs, in place.

    A normalisation in evaluation mode is y = (x - mean) · f + shift with f = scale / sqrt(variance + eps); the layer
    before it gets the weights w · f and the bias (b - mean) · f + shift, one f per output channel, and the
    normalisation becomes `nn.Identity`. In evaluation mode the network computes the same, up to float32's
    rounding. In training it no longer normalises by the batch: the running statistics are frozen into the weights.

    Quantised weights keep their levels (with the opposite sign if f is negative), because every output channel has its
    own step and the levels are symmetric.

    As a check, the network then runs on the given images and on noise, before and after folding, without the rounding
    of quantised layers: the outputs of the normalisations and of the network must stay the same.

    Args:
        model: float or quantised; keeps its mode. Normalisations that do not follow a `nn.Conv2d` or `nn.Linear`
            directly stay; so do those that are used twice, and those after a layer if the layer, its output or its
            weights are also used elsewhere.
        images: a few that the model takes, on its device.

    Returns:
        Names of the layers and of the normalisations folded into them, in the order of the computation.

    Raises:
        ValueError: if nothing can be folded, or the tracer cannot follow the model (the message names the layer);
            nothing is changed then.
        Disagreement: if outputs have moved by more than float rounding; the model is then as before.
    """
    traced = trace(model, images)
    uses = Counter(str(node.target) for node in traced.graph.nodes if node.op == "call_module")
    spans = [_span(tensor) for module in model.modules() for tensor in _own(module)]
    # What the forward function reads from a layer without calling it.
    taken = [_attribute(traced, node) for node in traced.graph.nodes if node.op == "get_attr"]
    spans += [_span(tensor) for tensor in taken if isinstance(tensor, Tensor)]
    pairs = []
    for node in traced.graph.nodes:
        before = node.args[0] if node.args else None
        if isinstance(before, fx.Node) and _foldable(traced, before, node):
            names = str(before.target), str(node.target)
            own = [_span(tensor) for name in names for tensor in _own(model.get_submodule(name))]
            alone = all(sum(low < end and start < high for low, high in spans) == 1 for start, end in own)
            if alone and len(before.users) == 1 and uses[names[0]] == uses[names[1]] == 1:
                pairs.append(names)
    if not pairs:
        raise ValueError(
            f"{type(model).__name__} has no batch normalisation that alone and directly follows a Conv2d or Linear "
            "layer with weights of its own (computed ones become so with remove_parametrizations or prune.remove of "
            "torch.nn.utils): leave folding out"
        )
    _fold_checked(model, images, pairs)
    return pairs


def _foldable(traced: fx.GraphModule, before: fx.Node, node: fx.Node) -> bool:
    layer, norm = called(traced, before), called(traced, node)
    if layer is None or not is_layer(layer) or not has_own_weights(layer):
        return False
    if norm is None or type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d) or norm.running_mean is None:
        return False
    # With more than two dimensions, features are the last one for a fully connected layer, the second for a norm.
    return isinstance(layer, nn.Conv2d) or len(shape_of(before)) == 2


def _own(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None]


def _span(tensor: Tensor) -> tuple[int, int]:
    """First address and the one after the last: different parameters may be parts of one long vector."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (reach + 1) * tensor.element_size()


def _attribute(traced: fx.GraphModule, node: fx.Node) -> object:
    path, _, name = str(node.target).rpartition(".")
    return getattr(traced.get_submodule(path), name)


def _fold_checked(model: nn.Module, images: Tensor, pairs: list[tuple[str, str]]) -> None:
    layers, norms = ([model.get_submodule(name) for name in names] for names in zip(*pairs, strict=True))
    nothing: list[nn.Module] = [nn.Identity().train(norm.training) for norm in norms]
    batches = images, noise_like(images, len(images))
    with _unrounded(model):
        wanted = [outputs(model, batch, norms) for batch in batches]
        perturbed = [perturbed_outputs(model, batch, norms) for batch in batches]
    saved = [[(name, value, value.detach().clone()) for name, value in layer.named_parameters()] for layer in layers]
    for layer, norm in zip(layers, norms, strict=True):
        _fold(layer, norm)
    _replace(model, norms, nothing)
    with _unrounded(model):
        found = [outputs(model, batch, nothing) for batch in batches]
    said = list(filter(None, map(moved, wanted, found, perturbed)))
    if said:
        _replace(model, nothing, norms)
        for layer, parameters in zip(layers, saved, strict=True):
            layer.register_parameter("bias", None)  # as it was, if it had none
            for name, value, before in parameters:
                layer.register_parameter(name, value)
                with torch.no_grad():
                    value.copy_(before)
        raise Disagreement(
            f"folding batch normalisation would change what {type(model).__name__} computes ({said[0]}): leave "
            "folding out"
        )


def _replace(model: nn.Module, olds: list[nn.Module], news: list[nn.Module]) -> None:
    """Replace some modules with others, under all of their names."""
    others = dict(zip(olds, news, strict=True))
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in others:
            model.set_submodule(name, others[module])


@contextmanager
def _unrounded(model: nn.Module) -> Iterator[None]:
    """Run quantised layers as float layers: rounding a sum near the middle of two levels would tell nothing."""
    layers = [layer for _, layer in quantised_layers(model)]
    try:
        for layer in layers:
            base: Any = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear
            vars(layer)["forward"] = partial(base.forward, layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


@torch.no_grad()
def _fold(layer: nn.Module, norm: nn.Module) -> None:
    assert isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    # In double precision: only the results are rounded to single.
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
