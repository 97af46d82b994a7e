"""Quantisation-aware layers whose bit-widths are plain integers, changed without rebuilding the model.

Weights are quantised per output channel, symmetric about zero; activations (a layer's input) per tensor,
asymmetric, from the moving average of their smallest and largest value, or from two learned clips. Gradients pass
straight through. The arithmetic of rounding stays in float32, also where layers compute in bfloat16: values are rounded
to the levels of the integer grid ("fake" quantisation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils.parametrize import is_parametrized

from algo.nets.training_config import ACTIVATION_RANGES, ActivationRange
from algo.space.dimensions import ACTIVATION_BITS, DIMENSIONS, WEIGHT_BITS, Dimension, dimension_named
from algo.space.policy import Policy

RANGE_MOMENTUM = 0.1  # share of the newest batch in the moving average of an activation's range

# Step of the weight grid in units of the channel's mean absolute value, below 8 bits. The values minimise the
# mean square error of a Gaussian; with the largest magnitude as reference instead, 2 bits would round nearly
# every weight to zero.
_STEP_OF_MEAN = {2: 1.534, 3: 0.816, 4: 0.443, 5: 0.242, 6: 0.132, 7: 0.0718}


class _Replace(torch.autograd.Function):
    """Pass on ``quantised`` but send the gradient to ``exact``: the straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, exact: Tensor, quantised: Tensor) -> Tensor:
        return quantised.view_as(quantised)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def quantise_weights(weight: Tensor, bits: int) -> Tensor:
    """Round weights to ``2^bits - 1`` levels symmetric about zero, one step size per output channel.

    The levels are -(2^(bits-1)-1) .. 2^(bits-1)-1 times the step ("narrow range"): 2 bits give {-1, 0, 1},
    4 bits -7..7, 8 bits -127..127. The fourth level of 2 bits, -2, is left unused: docs/use/data-and-networks.md
    says why. From 8 bits on the step is the channel's largest magnitude over the largest level; below, a
    fixed multiple of its mean magnitude, and larger weights saturate.

    Args:
        weight: float32, output channels first, any further shape.
        bits: 2..16.

    Returns:
        Tensor of the same shape; its gradient with respect to ``weight`` is the identity.

    >>> quantise_weights(torch.tensor([[0.9, -0.1, -1.1]]), 2)  # the step is 1.534 · 0.7
    tensor([[ 1.0738, -0.0000, -1.0738]])
    """
    with torch.no_grad():
        levels, step = weight_levels(weight, bits)
        quantised = levels.mul_(step)
    return cast(Tensor, _Replace.apply(weight, quantised))


def weight_levels(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """What `quantise_weights` rounds to: integer levels and step, whose product is the rounded weight.

    Args:
        weight: float32, output channels first, any further shape.
        bits: 2..16.

    Returns:
        Levels, whole numbers of magnitude 2^(bits-1)-1 at most, as float32 in the weight's shape; step, above 0,
        of shape (output channels, 1, 1, ...).
    """
    _check_bits(WEIGHT_BITS, bits)
    largest = 2 ** (bits - 1) - 1
    magnitude = weight.abs().flatten(1)
    if bits in _STEP_OF_MEAN:
        step = magnitude.mean(1) * _STEP_OF_MEAN[bits]
    else:
        step = magnitude.amax(1) / largest
    step = step.clamp_min(1e-12).view(-1, *[1] * (weight.dim() - 1))  # a channel of zeros stays zero
    return (weight / step).round_().clamp_(-largest, largest), step


def quantise_activations(values: Tensor, low: Tensor, high: Tensor, bits: int) -> Tensor:
    """Round values to the 2^bits levels that span [low, high], zero among them exactly.

    Values beyond the range saturate and pass no gradient; those within pass it unchanged.

    Args:
        values: float32, any shape.
        low: scalar tensor, at most 0.
        high: scalar tensor, at least 0.
        bits: 2..16.
    """
    return _round_to(activation_levels(low, high, bits), values)


@dataclass(frozen=True)
class ActivationLevels:
    """The grid of an activation: level q of 0..``largest`` stands for (q - ``zero``) · ``step``.

    Attributes:
        step: float32 scalar, above 0.
        zero: int32 scalar, 0..largest: the level of zero.
        largest: 2^bits - 1.
    """

    step: Tensor
    zero: Tensor
    largest: int


def activation_levels(low: Tensor, high: Tensor, bits: int) -> ActivationLevels:
    """The grid that `quantise_activations` rounds to; arguments as there."""
    _check_bits(ACTIVATION_BITS, bits)
    largest = 2**bits - 1
    step = ((high - low) / largest).clamp_min(1e-12)
    return ActivationLevels(step, (-low / step).round().clamp(0, largest).int(), largest)


def _layout(values: Tensor) -> torch.memory_format | None:
    """The order in memory of dense images (N, C, H, W): PyTorch's usual one, or channels last; ``None`` for others.

    Where the two are the same, as with one channel, it is the usual one.
    """
    for layout in (torch.contiguous_format, torch.channels_last):
        if values.dim() == 4 and values.is_contiguous(memory_format=layout):
            return layout
    return None


class _Round(torch.autograd.Function):
    """What `torch.fake_quantize_per_tensor_affine` computes, in passes that use vector instructions: 8 times as fast.

    Levels are counted from that of zero, from ``lowest`` to ``highest``. Results and gradients are the same numbers for
    all finite values.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, step: Tensor, lowest: int, highest: int, saturates: bool, layout: Any
    ) -> Tensor:
        ctx.layout = layout
        level = (values.float() * step.reciprocal()).round_()
        if saturates and ctx.needs_input_grad[0]:
            ctx.save_for_backward(level)
            ctx.within = lowest - 0.5, highest + 0.5
            level = level.clamp(lowest, highest)
        elif saturates:
            level.clamp_(lowest, highest)
        return level.mul_(step).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        if ctx.layout is not None:
            gradient = gradient.contiguous(memory_format=ctx.layout)
        if ctx.saved_tensors:
            [level] = ctx.saved_tensors
            passed = torch.ops.aten.hardtanh_backward(gradient.float(), level, *ctx.within)
            gradient = passed.to(gradient.dtype)
        return gradient, None, None, None, None, None


def _round_to(levels: ActivationLevels, values: Tensor, ends: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """``values`` rounded to levels; ``ends``, their smallest and largest, save work where nothing saturates."""
    if values.device.type != "cpu":  # elsewhere one kernel does it all, and reading a number would wait for it
        return torch.fake_quantize_per_tensor_affine(values, levels.step, levels.zero, 0, levels.largest)
    lowest = -int(levels.zero)
    highest = levels.largest + lowest
    saturates = True
    if ends is not None:
        below, above = (float((end * levels.step.reciprocal()).round()) for end in ends)
        saturates = not lowest <= below <= above <= highest
    # The gradient of a ReLU has the order of its result, but where that of what follows has another it is slow.
    after_relu = values.grad_fn is not None and values.grad_fn.name() == "ReluBackward0"
    layout = _layout(values) if after_relu else None
    return cast(Tensor, _Round.apply(values, levels.step, lowest, highest, saturates, layout))


def quantise_activations_learned(values: Tensor, low: Tensor, high: Tensor, bits: int) -> Tensor:
    """`quantise_activations` with a gradient for the range too: LSQ that learns the two clips.

    The result is the same, but ``low`` and ``high`` get the gradients of learned step size quantisation (Esser et al.,
    ICLR 2020) with an offset (LSQ+, Bhalgat et al., 2020), passed to the ends of the range. A value beyond an end moves
    that end by its own gradient, as in PACT (Choi et al., 2018); a value within moves it by its rounding error. Clips
    are the parameters, not steps: a layer keeps its range when its bit-width changes. Their gradients are not scaled,
    as in PACT and unlike LSQ.

    Args:
        values: float32, any shape.
        low: scalar tensor; taken as 0 if above.
        high: scalar tensor; taken as 0 if below.
        bits: 2..16.
    """
    _check_bits(ACTIVATION_BITS, bits)
    largest = 2**bits - 1
    low, high = low.clamp(max=0), high.clamp(min=0)
    step = ((high - low) / largest).clamp_min(1e-12)
    exact = -low / step
    zero = cast(Tensor, _Replace.apply(exact, exact.detach().round().clamp(0, largest)))
    return torch._fake_quantize_learnable_per_tensor_affine(values.float(), step.view(1), zero.view(1), 0, largest, 1.0)


class _Ranged(nn.Module):
    """What all share that round what they are given: a bit-width and the range of the input."""

    activation_bits: int
    learned: bool
    low: Tensor
    high: Tensor
    seen: Tensor

    def _prepare_range(self, learned: bool) -> None:
        self.activation_bits = 8
        self.learned = learned
        for name in ("low", "high"):
            if learned:
                self.register_parameter(name, nn.Parameter(torch.zeros(())))
            else:
                self.register_buffer(name, torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def _quantise_input(self, values: Tensor) -> Tensor:
        ends = None
        if self.training:
            with torch.no_grad():
                ends = values.amin().float(), values.amax().float()  # several times as fast as aminmax
                # Zero must be in the range; without an exact level for it, padding would be wrong.
                low, high = ends[0].clamp_max(0), ends[1].clamp_min(0)
                # The first batch sets the range; later ones move it, unless it is learned. No branch, because the
                # tensors may be on a GPU.
                share = torch.where(self.seen, 0.0 if self.learned else RANGE_MOMENTUM, 1.0)
                self.low.lerp_(low, share)
                self.high.lerp_(high, share)
                self.seen.fill_(True)
        if self.learned:
            return quantise_activations_learned(values, self.low, self.high, self.activation_bits)
        return _round_to(activation_levels(self.low, self.high, self.activation_bits), values, ends)

    def input_levels(self) -> ActivationLevels:
        """The grid that the input is rounded to at the current bit-width."""
        with torch.no_grad():
            return activation_levels(self.low.clamp(max=0), self.high.clamp(min=0), self.activation_bits)


class Rounding(_Ranged):
    """Rounds a tensor to ``activation_bits``, as a quantised layer rounds its input.

    It is for tensors that no layer rounds alone: the two parts of a sum, or what several layers are given. A layer that
    is given what a `Rounding` made needs no rounding of its own: see ``rounds_input`` of quantised layers.

    Args:
        bits: 2..16.
    """

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        _check_bits(ACTIVATION_BITS, bits)
        self._prepare_range(learned=False)
        self.activation_bits = bits

    def forward(self, values: Tensor) -> Tensor:
        """Any shape, which stays."""
        return self._quantise_input(values)


class _Quantised(_Ranged):
    """What quantised convolutions and fully connected layers share: bit-widths, and whether they round their input."""

    weight_bits: int
    rounds_input: bool = True

    def _prepare(self, learned: bool) -> None:
        self._prepare_range(learned)
        self.weight_bits = 8

    def _given(self, values: Tensor) -> Tensor:
        return self._quantise_input(values) if self.rounds_input else values


class QuantisedConv2d(_Quantised, nn.Conv2d):
    """A convolution that rounds its input and weights to ``activation_bits`` and ``weight_bits``."""

    def forward(self, input: Tensor) -> Tensor:
        """The convolution of the rounded input (N, C, H, W) by the rounded weights."""
        weight = quantise_weights(self.weight, self.weight_bits)
        values = self._given(input)
        if _layout(weight) is torch.channels_last:  # the convolution would reorder them in both directions
            values = values.contiguous(memory_format=torch.channels_last)
        return cast(Tensor, self._conv_forward(values, weight, self.bias))


class QuantisedLinear(_Quantised, nn.Linear):
    """A fully connected layer that rounds its input and weights."""

    def forward(self, input: Tensor) -> Tensor:
        """The product of the rounded input (..., features) and the rounded weights."""
        weight = quantise_weights(self.weight, self.weight_bits)
        return functional.linear(self._given(input), weight, self.bias)


_FORMS: dict[type, type] = {nn.Conv2d: QuantisedConv2d, nn.Linear: QuantisedLinear}


def is_layer(module: nn.Module | None) -> bool:
    """Whether a module has bit-widths: whether it computes what `nn.Conv2d` or `nn.Linear` does.

    Derived classes do, unless they replace the function that computes; so do layers with computed weights
    (`torch.nn.utils.parametrizations`, pruning), and the quantised forms of all these.
    """
    return module is not None and _base(module) is not None and _obstacle(module) is None


def weight_layers(model: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """Name and module of every layer that has bit-widths, in order of registration: the order in a policy.

    A model has the same layers before and after `quantise`. This and `is_layer` alone define what a layer is.

    Raises:
        ValueError: naming a convolution or fully connected layer that computes something else than `nn.Conv2d` or
            `nn.Linear`: it can neither be quantised nor left out.
    """
    found = []
    for name, module in model.named_modules():
        base = _base(module)
        if base is None:
            continue
        if obstacle := _obstacle(module):
            raise ValueError(f"layer {name!r} ({type(module).__name__}) cannot be quantised: {obstacle}")
        found.append((name, cast("nn.Conv2d | nn.Linear", module)))
    return found


def has_own_weights(module: nn.Module) -> bool:
    """Whether a layer's weights and biases are parameters of its own, not computed from others before each use."""
    return {"weight", "bias"} <= module._parameters.keys()  # a layer without biases has an empty one


def _base(module: nn.Module) -> type | None:
    return next((base for base in _FORMS if isinstance(module, base)), None)


def _obstacle(module: nn.Module) -> str | None:
    """Why a convolution or fully connected layer cannot be quantised; ``None`` if it can."""
    kind, base = type(module), _base(module)
    assert base is not None
    if issubclass(kind, LazyModuleMixin):
        return "its size is not known yet; run the network on an image first"
    if issubclass(kind, NonDynamicallyQuantizableLinear):
        return "nn.MultiheadAttention takes its weights without calling it; build attention from nn.Linear layers"
    ours = _FORMS[base] if issubclass(kind, _Quantised) else base
    names = ("forward", "_conv_forward", "__call__")
    own = [n for n in names if n in vars(module) or getattr(kind, n, None) is not getattr(ours, n, None)]
    if own:
        return (
            f"its {own[0]} function is not that of nn.{base.__name__}; use nn.{base.__name__} itself, whose weights "
            "torch.nn.utils.parametrize can compute"
        )
    return None


def _quantised_form(kind: type, parametrised: bool) -> type:
    """The class that quantises what a class's layers compute, and keeps everything else of that class."""
    if kind in _FORMS:
        return _FORMS[kind]
    name = f"Quantised{kind.__name__}"
    if parametrised:
        # PyTorch has put a class with the computed weights over the layer's own; here it comes over the quantised form,
        # where torch.nn.utils.parametrize.remove_parametrizations can take it away again.
        return type(name, (_quantised_form(kind.__bases__[0], False),), dict(vars(kind)))
    form = next(form for base, form in _FORMS.items() if issubclass(kind, base))
    return type(name, (form, kind), {"__module__": kind.__module__})


def quantise(model: nn.Module, activations: ActivationRange = "minmax") -> nn.Module:
    """Turn every layer of a model that has bit-widths (`weight_layers`) into its quantised form, 8 bits throughout.

    ``activations`` says where the range of a layer's input comes from: ``minmax``, the moving average of its smallest
    and largest value; or ``lsq``, two parameters that training moves (`quantise_activations_learned`), set by the
    first batch or by the state dict of a model that was quantised either way.

    This is done in place, in the order in which `set_bits` counts layers. Parameters keep their names, values and
    optimiser identity, so an existing state dict still loads (but not strictly: each layer gains the buffers
    ``low``, ``high``, ``seen``). Computed weights are quantised after they are computed. Returns the model.

    Raises:
        ValueError: if the model has no such layer, or one that cannot be quantised (it is named; nothing is changed
            then), or ``activations`` is neither.
    """
    if activations not in ACTIVATION_RANGES:
        raise ValueError(f"activations must be one of {', '.join(ACTIVATION_RANGES)}, not {activations!r}")
    layers = weight_layers(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Conv2d or Linear layer to quantise")
    for _, module in layers:
        if not isinstance(module, _Quantised):
            module.__class__ = _quantised_form(type(module), is_parametrized(module))
            cast(_Quantised, module)._prepare(activations == "lsq")
            module.to(module.weight.device)  # the new buffers follow the weights
    return model


def quantised_layers(model: nn.Module) -> list[tuple[str, QuantisedConv2d | QuantisedLinear]]:
    """Name and module of a model's quantised layers, in the order of a policy's bit-widths."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, QuantisedConv2d | QuantisedLinear)]


def policy_of(model: nn.Module) -> Policy:
    """The values that the quantised layers of a model have now, in every dimension that all of them have."""
    layers = [layer for _, layer in quantised_layers(model)]
    known = [name for name in DIMENSIONS if all(hasattr(layer, name) for layer in layers)]
    return Policy(point=0, **{name: tuple(getattr(layer, name) for layer in layers) for name in known})


def apply(model: nn.Module, policy: Policy) -> None:
    """Set every quantised layer to a policy's values, first layer first; weights and ranges stay as they are.

    A dimension is an attribute of the quantised layers, by its name.

    Args:
        model: a model that went through `quantise`.
        policy: a value per layer in each dimension; its operating point is ignored.

    Raises:
        ValueError: naming the count that does not match, the layer and the value it cannot have, or a dimension that
            the layers do not have; nothing is changed then.
    """
    layers = quantised_layers(model)
    for name, given in policy.values:
        dimension = dimension_named(name)
        if len(given) != len(layers):
            raise ValueError(
                f"{len(given)} {dimension.title} for {len(layers)} quantised layers "
                f"({', '.join(layer for layer, _ in layers)}): give one per layer"
            )
        for (layer, module), value in zip(layers, given, strict=True):
            if not hasattr(module, name):
                raise ValueError(f"layer {layer!r} ({type(module).__name__}) has no {dimension.title}")
            if type(value) is not int or not dimension.low <= value <= dimension.high:
                raise ValueError(
                    f"{dimension.title} of layer {layer!r} must be an integer in {dimension.low}..{dimension.high}, "
                    f"not {value!r}"
                )
    for name, given in policy.values:
        for (_, module), value in zip(layers, given, strict=True):
            setattr(module, name, value)


def set_bits(model: nn.Module, weight_bits: Sequence[int], activation_bits: Sequence[int]) -> None:
    """`apply` of bit-widths alone."""
    apply(model, Policy(weight_bits, activation_bits))


def model_size_bytes(model: nn.Module, weight_bits: Sequence[int]) -> int:
    """Bytes of a model's weights under a policy, each layer packed and rounded up to whole bytes.

    Counts the weights of the quantised layers only; biases, normalisation and step sizes stay in float32 and
    are left out, as is usual for such figures. Raises ValueError if the counts do not match.
    """
    layers = quantised_layers(model)
    if len(weight_bits) != len(layers):
        raise ValueError(f"{len(weight_bits)} weight bit-widths for {len(layers)} quantised layers")
    return sum(packed_bytes(m.weight.numel(), bits) for (_, m), bits in zip(layers, weight_bits, strict=True))


def packed_bytes(weights: int, bits: int) -> int:
    """Bytes of a layer's weights, packed and rounded up to whole bytes."""
    return (weights * bits + 7) // 8


def _check_bits(dimension: Dimension, bits: object) -> None:
    if type(bits) is not int or not dimension.low <= bits <= dimension.high:
        raise ValueError(f"{dimension.title} must be an integer in {dimension.low}..{dimension.high}, not {bits!r}")
