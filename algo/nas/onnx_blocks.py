"""Blocks and whole networks of a space as ONNX models with random weights, for measuring.

Integers travel as UINT8 with the channels last, as ONNX Runtime's integer kernels want them; float32 travels with the
channels first. So what is measured alone holds no transposition that it would not have inside a network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from algo.nas.space import Architecture, Block, Space, halved

#: Bits of weights up to which a block runs in integers. There are no kernels for 4 or 16 bits.
INTEGER_BITS = 8

_OPSET, _IR = 17, 8  # old enough for any recent ONNX Runtime
_RELU6_STEP = 6 / 255  # the levels 0..255 of 0..6: the runtime then needs no clipping
_STEP, _ZERO = 0.04, 128
_WEIGHT_STEP = 0.01
_IN_FLOAT = {"Add", "Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "GlobalAveragePool", "MatMul"}


def runs_in(bits: int) -> str:
    """The arithmetic that a block with weights of these bits runs in: ``int8`` or ``float32``."""
    return "int8" if bits <= INTEGER_BITS else "float32"


@dataclass(frozen=True)
class _Value:
    """A tensor of a graph with its channels, height and width; ``step`` and ``zero`` only of integers."""

    name: str
    channels: int
    size: tuple[int, int]
    step: float = 0.0
    zero: int = 0

    @property
    def integer(self) -> bool:
        return self.step > 0


@dataclass
class _Graph:
    """A graph that grows, node by node."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def emit(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def given(self, channels: int, size: tuple[int, int], integer: bool) -> _Value:
        """The input: UINT8 with the channels last, or float32 with the channels first."""
        from onnx import TensorProto, helper

        shape = [1, *size, channels] if integer else [1, channels, *size]
        kind = TensorProto.UINT8 if integer else TensorProto.FLOAT
        self.inputs.append(helper.make_tensor_value_info("given", kind, shape))
        if not integer:
            return _Value("given", channels, size)
        return _Value(self.emit("Transpose", "given", perm=[0, 3, 1, 2]), channels, size, _STEP, _ZERO)

    def model(self, made: _Value) -> Any:
        """The model that gives a value: integers with the channels last."""
        from onnx import TensorProto, helper

        shape, name, kind = [1, made.channels, *made.size], made.name, TensorProto.FLOAT
        if made.integer:
            shape, kind = [1, *made.size, made.channels], TensorProto.UINT8
            name = self.emit("Transpose", name, perm=[0, 2, 3, 1])
        if made.size == (0, 0):
            shape = [1, made.channels]
        output = helper.make_tensor_value_info(name, kind, shape)
        graph = helper.make_graph(self.nodes, "measured", self.inputs, [output], self.constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="rlu-cosim")

    def to_float(self, value: _Value) -> str:
        """Name of the value in float32."""
        if not value.integer:
            return value.name
        step, zero = self.constant(np.float32(value.step)), self.constant(np.uint8(value.zero))
        return self.emit("DequantizeLinear", value.name, step, zero)

    def rounded(
        self, name: str, channels: int, size: tuple[int, int], step: float = _STEP, zero: int = _ZERO
    ) -> _Value:
        """A float32 tensor as integers."""
        levels = self.emit("QuantizeLinear", name, self.constant(np.float32(step)), self.constant(np.uint8(zero)))
        return _Value(levels, channels, size, step, zero)

    def weights(self, shape: tuple[int, ...], integer: bool, step: float) -> tuple[str, str]:
        """Weights and bias of a layer; for integers INT8 by output channel, and the bias a multiple of both steps."""
        outputs = shape[0]
        if not integer:
            values = self.rng.normal(0, 0.1, shape).astype(np.float32)
            return self.constant(values), self.constant(self.rng.normal(0, 0.1, outputs).astype(np.float32))
        steps = np.full(outputs, _WEIGHT_STEP, np.float32)
        parts = (
            (self.rng.integers(-127, 128, shape, dtype=np.int8), steps),
            (self.rng.integers(-500, 501, outputs, dtype=np.int32), np.float32(step) * steps),
        )
        weight, bias = (
            self.emit(
                "DequantizeLinear", self.constant(levels), self.constant(scale),
                self.constant(np.zeros(outputs, levels.dtype)), axis=0,
            )
            for levels, scale in parts
        )  # fmt: skip
        return weight, bias

    def conv(
        self, value: _Value, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, clipped: bool = True
    ) -> _Value:
        """A convolution with its bias, and ReLU6 if ``clipped``, in the arithmetic of what it is given."""
        shape = (outputs, value.channels // groups, kernel, kernel)
        parts = self.weights(shape, value.integer, value.step)
        made = self.emit(
            "Conv", self.to_float(value), *parts, kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[kernel // 2] * 4, group=groups,
        )  # fmt: skip
        if clipped:
            made = self.emit("Clip", made, self.constant(np.float32(0)), self.constant(np.float32(6)))
        size = halved(value.size, stride)
        if not value.integer:
            return _Value(made, outputs, size)
        return self.rounded(made, outputs, size, *((_RELU6_STEP, 0) if clipped else (_STEP, _ZERO)))

    def block(self, value: _Value, block: Block, kernel: int, expansion: int) -> _Value:
        """An inverted residual block."""
        between = block.inputs * expansion
        inner = self.conv(value, between) if expansion != 1 else value
        inner = self.conv(inner, between, kernel, block.stride, groups=between)
        made = self.conv(inner, block.outputs, clipped=False)
        return self.added(value, made) if block.adds_input else made

    def added(self, value: _Value, made: _Value) -> _Value:
        """The sum of two tensors of the same arithmetic."""
        total = self.emit("Add", self.to_float(value), self.to_float(made))
        return (
            self.rounded(total, made.channels, made.size) if made.integer else _Value(total, made.channels, made.size)
        )

    def changed(self, value: _Value, integer: bool) -> _Value:
        """The value in the other arithmetic, or as it is."""
        if value.integer == integer:
            return value
        if integer:
            return self.rounded(value.name, value.channels, value.size)
        return _Value(self.to_float(value), value.channels, value.size)

    def stem(self, image: tuple[int, int, int], space: Space, integer: bool = True) -> _Value:
        """What the stem makes of float32 images, in integers or in float32."""
        value = self.changed(self.given(image[0], image[1:], integer=False), integer)
        return self.conv(value, space.stem, 3, space.stem_stride)

    def head(self, value: _Value, space: Space, classes: int) -> _Value:
        """Float32 logits: head, mean and last layer, in the arithmetic of the value."""
        return self.classified(self.conv(value, space.head), classes)

    def classified(self, value: _Value, classes: int) -> _Value:
        """Float32 logits: mean and last layer, in the arithmetic of the value."""
        name = self.emit("GlobalAveragePool", self.to_float(value))
        if value.integer:
            name = self.rounded(name, value.channels, (1, 1), value.step, value.zero).name
        flat = replace(value, name=self.emit("Flatten", name, axis=1))
        parts = self.weights((classes, value.channels), value.integer, value.step)
        logits = self.emit("Gemm", self.to_float(flat), *parts, transB=1)
        if value.integer:
            logits = self.to_float(self.rounded(logits, classes, (0, 0)))
        return _Value(logits, classes, (0, 0))


def block_model(block: Block, path: tuple[int, int]) -> Any:
    """A block with kernel and expansion of a path, in integers."""
    graph = _Graph()
    return graph.model(graph.block(graph.given(block.inputs, block.size, integer=True), block, *path))


def framed_model(blocks: Sequence[tuple[Block, tuple[int, int], bool]]) -> Any:
    """Blocks one after the other, each with its path and whether it runs in integers, between two layers in integers.

    These are 1x1 convolutions that keep the channels. Without them the runtime would arrange a change of arithmetic in
    another way than inside a network.
    """
    graph = _Graph()
    first = blocks[0][0]
    value = graph.conv(graph.given(first.inputs, first.size, integer=True), first.inputs, clipped=False)
    for block, path, integer in blocks:
        value = graph.block(graph.changed(value, integer), block, *path)
    value = graph.changed(value, integer=True)
    return graph.model(graph.conv(value, value.channels, clipped=False))


def frame_model(channels: int, size: tuple[int, int]) -> Any:
    """One layer of a frame."""
    graph = _Graph()
    return graph.model(graph.conv(graph.given(channels, size, integer=True), channels, clipped=False))


def stem_model(image: tuple[int, int, int], space: Space) -> Any:
    """The stem: float32 images in, integers out."""
    graph = _Graph()
    return graph.model(graph.stem(image, space))


def head_model(size: tuple[int, int], space: Space, classes: int) -> Any:
    """Head, mean and last layer: integers in, float32 logits out."""
    graph = _Graph()
    return graph.model(graph.head(graph.given(space.stages[-1].channels, size, integer=True), space, classes))


def empty_model() -> Any:
    """A model that does nothing: what a call of the runtime takes."""
    from onnx import TensorProto, helper

    graph = _Graph()
    graph.inputs.append(helper.make_tensor_value_info("given", TensorProto.FLOAT, [1, 1]))
    return graph.model(_Value(graph.emit("Identity", "given"), 1, (0, 0)))


def network_model(
    space: Space, architecture: Architecture, image: tuple[int, int, int], classes: int, float32: bool = False
) -> Any:
    """A whole network: float32 images in, float32 logits out; with ``float32`` all layers are in float32."""
    graph = _Graph()
    value = graph.stem(image, space, not float32)
    for block, option in zip(space.blocks(image[1:]), space.checked(architecture), strict=True):
        integer = option.bits <= INTEGER_BITS and not float32
        value = graph.block(graph.changed(value, integer), block, option.kernel, option.expansion)
    return graph.model(graph.head(graph.changed(value, not float32), space, classes))


def resnet8_model(image: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> Any:
    """ResNet-8 in integers, the reference network for CIFAR-10 of MLPerf Tiny (Banbury et al., 2021).

    Three residual blocks of 16, 32 and 64 channels, each of two 3x3 convolutions; 78 thousand weights.
    """
    graph = _Graph()
    value = graph.conv(graph.changed(graph.given(image[0], image[1:], integer=False), integer=True), 16, 3)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        made = graph.conv(graph.conv(value, channels, 3, stride), channels, 3, clipped=False)
        beside = value if stride == 1 else graph.conv(value, channels, 1, stride, clipped=False)
        value = graph.added(beside, made)
    return graph.model(graph.classified(value, classes))


def float_layers(model: Any) -> list[str]:
    """Operators of a model's layers that ONNX Runtime does not run in integers after its optimisations."""
    import onnx
    import onnxruntime  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(Path(folder) / "optimised.onnx"), 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath)
    return sorted({node.op_type for node in optimised.graph.node} & _IN_FLOAT)
