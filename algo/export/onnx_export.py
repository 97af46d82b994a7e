"""A quantised network as an ONNX file, with integers (QDQ) or exact bit-widths (QONNX).

The graph is written node by node from the traced network, so every level and step in the file is the one that the
network was trained with. Biases and normalisation stay float32, as in training.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from algo.export.onnx_check import check
from algo.nets.quantisation import ActivationLevels, QuantisedConv2d, QuantisedLinear, Rounding, weight_levels
from algo.nets.tracing import called, described, functional_trace, shape_of

Format = Literal["onnx", "qonnx"]
FORMATS: tuple[Format, ...] = ("onnx", "qonnx")
INPUT, OUTPUT = "images", "logits"

_OPSET, _IR = 17, 8  # old enough for every runtime that can quantise by channel
_QONNX_DOMAIN = "qonnx.custom_op.general"
_MOST_BITS = 8  # of an integer in a QDQ file


def export(model: nn.Module, images: Tensor, form: Format = "onnx", integer_kernels: bool = False) -> Any:
    """The network as an `onnx.ModelProto` that takes any number of images and gives their logits.

    Format ``onnx`` holds weights as INT8 levels with one step per output channel, narrow range, and rounds activations
    to UINT8 levels around a zero point (QuantizeLinear, DequantizeLinear, opset 17). Fewer bits than 8 are fewer levels
    of these types: -1..1 and -7..7 for weights of 2 and 4 bits; for activations a Clip to 0..3 or 0..15 follows. More
    bits have no such type: rounded weights are stored in float32, and activations are rounded in float32.
    Format ``qonnx`` holds float weights, and a Quant node with the exact bit-width wherever something is rounded.

    What is made of a layer is named by the layer in the traced network, a dot, and what it is. So no name can be that
    of another layer's weights, or of the file's input or output.

    The file is run and checked before it is returned: see `algo.export.onnx_check.check`.

    Args:
        model: a model that went through `quantise`, with its bit-widths and ranges of activations set; in any
            mode.
        images: float32 (N, ...), a few that the model takes, on its device.
        form: one of `FORMATS`.
        integer_kernels: leaves biases inside convolutions and fully connected layers, which ONNX Runtime then fuses
            with the rounding of their result into integer kernels if it can. That is faster, but it rounds biases to
            multiples of the product of the two steps, which is coarse below 8 bits. Otherwise biases are added after
            them and the numbers are those of training.

    Raises:
        ValueError: naming the layer, if the tracer cannot follow it, it computes something that the file cannot
            contain, or has no range; or if nothing can be compared with the
            network's outputs.
        Disagreement: if the file computes differently from the network.
    """
    import onnx

    if form not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, not {form!r}")
    traced = functional_trace(model, images)
    builder = _Builder(traced, form, integer_kernels)
    with torch.no_grad():
        for node in traced.graph.nodes:
            builder.add(node)
    if builder.result is None:
        raise ValueError(f"{type(model).__name__} gives nothing that depends on the images, so it cannot be exported")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    given = helper.make_tensor_value_info(INPUT, real, ["N", *images.shape[1:]])
    made = helper.make_tensor_value_info(OUTPUT, real, ["N", *shape_of(builder.result)[1:]])
    graph = helper.make_graph(builder.nodes, type(model).__name__, [given], [made], builder.constants)
    opsets = [helper.make_opsetid("", _OPSET)]
    if form == "qonnx":
        opsets.append(helper.make_opsetid(_QONNX_DOMAIN, 1))
    made_model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="rlu-cosim")
    if form == "onnx":  # the checker does not know Quant
        onnx.checker.check_model(made_model, full_check=True)
    check(model, traced, made_model, images, optimised=not integer_kernels)
    return made_model


class _Builder:
    """Turns the nodes of a traced network into ONNX's, in order."""

    def __init__(self, traced: fx.GraphModule, form: Format, integer_kernels: bool) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.result: fx.Node | None = None
        self._traced, self._form, self._integer_kernels = traced, form, integer_kernels
        self._names: dict[fx.Node, str] = {}

    def add(self, node: fx.Node) -> None:
        """Add what a node computes; nodes before it have been added."""
        if node.op == "placeholder":
            if not self._names:  # the other inputs have default values
                self._names[node] = INPUT
        elif node.op == "output":
            self.result = node.args[0] if isinstance(node.args[0], fx.Node) else None
            if self.result is not None:
                self._emit("Identity", [self._name(self.result)], OUTPUT)
        elif "tensor" in node.meta:  # else a size, which only matters to operations that make a shape of it
            self._names[node] = self._compute(node)

    def _compute(self, node: fx.Node) -> str:
        layer = called(self._traced, node)
        if layer is not None:
            convert = next((made for kind, made in _LAYERS.items() if _is(layer, kind)), None)
        elif node.op == "call_function":
            convert = _FUNCTIONS.get(node.target)
        else:
            convert = _METHODS.get(str(node.target)) if node.op == "call_method" else None
        try:
            if convert is None:
                raise ValueError("the export does not know it")
            if node.meta["tensor"].dtype != torch.float32:
                raise ValueError(f"it makes {node.meta['tensor'].dtype}, only torch.float32 can")
            return convert(self, node, layer)
        except ValueError as error:
            where = described(self._traced, node)
            raise ValueError(f"{where} cannot be exported: {error}; docs/use/export.md lists what can") from None

    def _name(self, node: object) -> str:
        if not isinstance(node, fx.Node) or node not in self._names:
            raise ValueError(f"it takes {node!r} where another layer's output was expected")
        return self._names[node]

    def _given(self, node: fx.Node) -> str:
        """What a node that takes one tensor takes."""
        return self._name(_input_of(node))

    def _emit(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        import onnx

        domain = _QONNX_DOMAIN if kind == "Quant" else None
        name = f"{output}.{kind}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [output], name=name, domain=domain, **attributes))
        return output

    def _constant(self, name: str, value: Any) -> str:
        import onnx

        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self.constants.append(onnx.numpy_helper.from_array(array.copy(order="C"), name))
        return name

    # --- quantisation -----------------------------------------------------------------------------------------------

    def _quantised_input(self, node: fx.Node, layer: QuantisedConv2d | QuantisedLinear | Rounding) -> str:
        """The layer's input rounded to its levels."""
        given, name = self._given(node), f"{node.name}.input"
        if not isinstance(layer, Rounding) and not layer.rounds_input:
            return given
        if not layer.seen and not layer.low < layer.high:
            raise ValueError(
                "the range of its input was never set: give the network some images in training mode first"
            )
        grid = layer.input_levels()
        if self._form == "onnx" and layer.activation_bits > _MOST_BITS:
            return self._rounded_floats(given, name, grid)
        step = self._constant(f"{name}_step", grid.step)
        if self._form == "qonnx":
            return self._quant(given, f"{name}_rounded", step, float(grid.zero), layer.activation_bits, signed=False)
        zero = self._constant(f"{name}_zero", grid.zero.to(torch.uint8))
        levels = self._emit("QuantizeLinear", [given, step, zero], f"{name}_levels")
        if layer.activation_bits < _MOST_BITS:
            ends = [self._constant(f"{name}_{end}", np.uint8(v)) for end, v in (("least", 0), ("most", grid.largest))]
            levels = self._emit("Clip", [levels, *ends], f"{name}_clipped")
        return self._emit("DequantizeLinear", [levels, step, zero], f"{name}_rounded")

    def _quantised_weight(self, node: fx.Node, layer: QuantisedConv2d | QuantisedLinear) -> str:
        levels, step = weight_levels(layer.weight, layer.weight_bits)
        name = f"{node.name}.weight"
        if self._form == "qonnx":
            # Rounded weights instead of trained ones: rounding them again cannot give another level.
            weight = self._constant(name, levels * step)
            step_name = self._constant(f"{name}_step", step)
            return self._quant(weight, f"{name}_rounded", step_name, 0.0, layer.weight_bits, signed=True)
        if layer.weight_bits > _MOST_BITS:
            return self._constant(f"{name}_rounded", levels * step)
        parts = [
            self._constant(name, levels.to(torch.int8)),
            self._constant(f"{name}_step", step.flatten()),
            self._constant(f"{name}_zero", torch.zeros(len(step), dtype=torch.int8)),
        ]
        return self._emit("DequantizeLinear", parts, f"{name}_rounded", axis=0)

    def _quant(self, given: str, output: str, step: str, zero: float, bits: int, signed: bool) -> str:
        zero_name = self._constant(f"{output}_zero", np.float32(zero))
        width = self._constant(f"{output}_bits", np.float32(bits))
        return self._emit(
            "Quant",
            [given, step, zero_name, width],
            output,
            signed=int(signed),
            narrow=int(signed),
            rounding_mode="ROUND",
        )

    def _rounded_floats(self, given: str, name: str, grid: ActivationLevels) -> str:
        """Values rounded to more levels than a byte has, in float32, as in training."""
        lowest = -int(grid.zero)
        scaled = self._emit(
            "Mul", [given, self._constant(f"{name}_levels_per_unit", grid.step.reciprocal())], f"{name}_scaled"
        )
        levels = self._emit("Round", [scaled], f"{name}_levels")
        ends = [
            self._constant(f"{name}_{end}", np.float32(value))
            for end, value in (("least", lowest), ("most", grid.largest + lowest))
        ]
        clipped = self._emit("Clip", [levels, *ends], f"{name}_clipped")
        return self._emit("Mul", [clipped, self._constant(f"{name}_step", grid.step)], f"{name}_rounded")

    def rounding(self, node: fx.Node, layer: Any) -> str:
        """A tensor rounded by itself."""
        return self._quantised_input(node, layer)

    # --- layers -----------------------------------------------------------------------------------------------------

    def conv(self, node: fx.Node, layer: Any) -> str:
        """A quantised convolution."""
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise ValueError("only padding with zeros by given numbers can")
        return self._product(
            "Conv", node, layer, group=layer.groups, dilations=layer.dilation, strides=layer.stride,
            kernel_shape=layer.kernel_size, pads=[*layer.padding] * 2,
        )  # fmt: skip

    def linear(self, node: fx.Node, layer: Any) -> str:
        """A quantised fully connected layer on (N, features)."""
        if len(shape_of(node)) != 2:
            raise ValueError(f"its output has {len(shape_of(node))} dimensions, only (N, features) can")
        return self._product("Gemm", node, layer, transB=1)

    def _product(self, kind: str, node: fx.Node, layer: QuantisedConv2d | QuantisedLinear, **attributes: Any) -> str:
        inputs = [self._quantised_input(node, layer), self._quantised_weight(node, layer)]
        if layer.bias is None:
            return self._emit(kind, inputs, _output(node), **attributes)
        if self._integer_kernels:
            return self._emit(
                kind, [*inputs, self._constant(f"{node.name}.bias", layer.bias)], _output(node), **attributes
            )
        product = self._emit(kind, inputs, f"{node.name}.product", **attributes)
        by_channel = layer.bias.view(-1, *[1] * (len(shape_of(node)) - 2))
        return self._emit("Add", [product, self._constant(f"{node.name}.bias", by_channel)], _output(node))

    def norm(self, node: fx.Node, layer: Any) -> str:
        """Batch normalisation by its running statistics."""
        if layer.running_mean is None:
            raise ValueError("it has no running statistics")
        scale = torch.ones_like(layer.running_mean) if layer.weight is None else layer.weight
        shift = torch.zeros_like(layer.running_mean) if layer.bias is None else layer.bias
        values = {"scale": scale, "shift": shift, "mean": layer.running_mean, "variance": layer.running_var}
        inputs = [self._constant(f"{node.name}.{name}", value) for name, value in values.items()]
        return self._emit("BatchNormalization", [self._given(node), *inputs], _output(node), epsilon=float(layer.eps))

    def relu(self, node: fx.Node, layer: Any) -> str:
        """The larger of a value and 0."""
        return self._emit("Relu", [self._given(node)], _output(node))

    def clip(self, node: fx.Node, layer: Any) -> str:
        """A value kept between two numbers, such as the 0 and 6 of ReLU6."""
        inputs = [self._given(node)]
        for end, bound in zip(("least", "most"), _bounds(node, layer), strict=True):
            if bound is not None and not isinstance(bound, int | float):
                raise ValueError("only bounds that are numbers can")
            inputs.append("" if bound is None else self._constant(f"{node.name}.{end}", np.float32(bound)))
        return self._emit("Clip", inputs, _output(node))

    def same(self, node: fx.Node, layer: Any) -> str:
        """An operation that does nothing after training."""
        return self._given(node)

    def pool(self, node: fx.Node, layer: Any) -> str:
        """The largest, or the mean, of windows."""
        if layer.ceil_mode or getattr(layer, "dilation", 1) not in (1, (1, 1)):
            raise ValueError("only windows without ceil_mode and dilation can")
        kernel, strides, padding = (_pair(v) for v in (layer.kernel_size, layer.stride, layer.padding))
        extra = {}
        if isinstance(layer, nn.AvgPool2d):
            if layer.divisor_override is not None:
                raise ValueError("only means without divisor_override can")
            extra["count_include_pad"] = int(layer.count_include_pad)
        kind = "AveragePool" if isinstance(layer, nn.AvgPool2d) else "MaxPool"
        inputs = [self._given(node)]
        return self._emit(kind, inputs, _output(node), kernel_shape=kernel, strides=strides, pads=padding * 2, **extra)

    def adaptive_pool(self, node: fx.Node, layer: Any) -> str:
        """Means of windows whose size follows from the output."""
        given, made = shape_of(_input_of(node))[2:], shape_of(node)[2:]
        if any(g % m for g, m in zip(given, made, strict=True)):
            raise ValueError(f"{made[0]}x{made[1]} does not divide its input of {given[0]}x{given[1]}")
        kernel = [g // m for g, m in zip(given, made, strict=True)]
        return self._emit("AveragePool", [self._given(node)], _output(node), kernel_shape=kernel, strides=kernel)

    def flatten(self, node: fx.Node, layer: Any) -> str:
        """All dimensions except the first become one."""
        if len(shape_of(node)) != 2 or shape_of(node)[0] != shape_of(_input_of(node))[0]:
            raise ValueError(f"it makes the shape {shape_of(node)}, only (N, values) can")
        return self._emit("Flatten", [self._given(node)], _output(node), axis=1)

    def add_two(self, node: fx.Node, layer: Any) -> str:
        """The sum of two layers' outputs."""
        if len(node.args) != 2 or node.kwargs:
            raise ValueError(f"only plain sums can, not one with {', '.join(node.kwargs) or len(node.args)}")
        return self._emit("Add", [self._name(part) for part in node.args], _output(node))

    def mean(self, node: fx.Node, layer: Any) -> str:
        """The mean over some dimensions."""
        if node.kwargs.keys() - {"input", "dim", "keepdim"}:
            raise ValueError("only a mean with dim and keepdim can")
        dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = [dims] if isinstance(dims, int) else list(dims) if isinstance(dims, tuple | list) else None
        if axes is None:
            raise ValueError("only a mean over named dimensions can")
        rank = len(shape_of(_input_of(node)))
        keep = len(shape_of(node)) == rank
        if keep and rank == 4 and sorted(axis % rank for axis in axes) == [2, 3]:
            # For this there is an integer kernel, if what comes of it is rounded at once.
            return self._emit("GlobalAveragePool", [self._given(node)], _output(node))
        return self._emit("ReduceMean", [self._given(node)], _output(node), axes=axes, keepdims=int(keep))


def _output(node: fx.Node) -> str:
    """Name of a node's output: no other name that is made from a node's ends like this."""
    return f"{node.name}.output"


def _input_of(node: fx.Node) -> fx.Node:
    given = node.args[0] if node.args else node.kwargs.get("input")
    if not isinstance(given, fx.Node) or "tensor" not in given.meta:
        raise ValueError(f"it takes {given!r} where another layer's output was expected")
    return given


def _bounds(node: fx.Node, layer: Any) -> tuple[Any, Any]:
    """The bounds of a clipping operation; ``None`` for an open end."""
    if layer is not None:
        return layer.min_val, layer.max_val
    if node.target is functional.relu6:
        return 0, 6
    least, most = (-1, 1) if node.target in _HARDTANH else (None, None)
    given = dict(zip(("least", "most"), node.args[1:3], strict=False))
    return (
        given.get("least", node.kwargs.get("min", node.kwargs.get("min_val", least))),
        given.get("most", node.kwargs.get("max", node.kwargs.get("max_val", most))),
    )


def _is(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer is of a kind: exactly, or as the quantised form of a class derived from its base."""
    return type(layer) is kind or (issubclass(kind, QuantisedConv2d | QuantisedLinear) and isinstance(layer, kind))


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


_HARDTANH = (functional.hardtanh, functional.hardtanh_)
_Convert = Callable[[_Builder, fx.Node, Any], str]
_LAYERS: dict[type[nn.Module], _Convert] = {
    QuantisedConv2d: _Builder.conv,
    QuantisedLinear: _Builder.linear,
    Rounding: _Builder.rounding,
    nn.BatchNorm1d: _Builder.norm,
    nn.BatchNorm2d: _Builder.norm,
    nn.ReLU: _Builder.relu,
    nn.ReLU6: _Builder.clip,
    nn.Hardtanh: _Builder.clip,
    nn.MaxPool2d: _Builder.pool,
    nn.AvgPool2d: _Builder.pool,
    nn.AdaptiveAvgPool2d: _Builder.adaptive_pool,
    nn.Flatten: _Builder.flatten,
    nn.Identity: _Builder.same,
    nn.Dropout: _Builder.same,
    nn.Dropout2d: _Builder.same,
}
# By the function itself: a user's own may have the same name.
_FUNCTIONS: dict[Any, _Convert] = {
    torch.relu: _Builder.relu,
    torch.relu_: _Builder.relu,
    functional.relu: _Builder.relu,
    functional.relu6: _Builder.clip,
    **dict.fromkeys((*_HARDTANH, torch.clamp, torch.clamp_, torch.clip, torch.clip_), _Builder.clip),
    torch.flatten: _Builder.flatten,
    torch.reshape: _Builder.flatten,
    torch.add: _Builder.add_two,
    operator.add: _Builder.add_two,
    operator.iadd: _Builder.add_two,
    torch.mean: _Builder.mean,
}
_METHODS: dict[str, _Convert] = {
    "relu": _Builder.relu,
    "relu_": _Builder.relu,
    **dict.fromkeys(("clamp", "clamp_", "clip", "clip_"), _Builder.clip),
    "flatten": _Builder.flatten,
    "view": _Builder.flatten,
    "reshape": _Builder.flatten,
    "add": _Builder.add_two,
    "add_": _Builder.add_two,
    "mean": _Builder.mean,
}
