"""Layers of a network in an ONNX file, so that any network can be put on a chip without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algo.chip import Geometry, LayerShape

LAYERS = ("Conv", "Gemm", "MatMul")


def onnx_layers(path: Path) -> tuple[LayerShape, ...]:
    """Every convolution and fully connected layer of an ONNX model, for one image, in the model's order.

    Layers bear the name of their weights.

    Args:
        path: the model; a batch of unknown size counts as 1.

    Raises:
        ValueError: if it is no ONNX model, has no such layer, or one whose shape cannot be told; the layer is named.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import shape_inference

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{path} is no ONNX model: {' '.join(str(error).split())[:200]}") from None
    for given in model.graph.input:
        size = given.type.tensor_type.shape.dim[0] if given.type.tensor_type.shape.dim else None
        if size is not None and not size.dim_value:
            size.dim_value = 1
    # Values inside a file were inferred for a batch of any size.
    del model.graph.value_info[:]
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {value.name: _shape(value) for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    shapes |= {constant.name: tuple(constant.dims) for constant in inferred.initializer}
    makers = {output: node for node in inferred.node for output in node.output}
    constants = {constant.name for constant in inferred.initializer}
    layers = []
    for node in inferred.node:
        if node.op_type not in LAYERS or (weights := _weights(node.input[1], makers, constants)) is None:
            continue
        # As PyTorch's exporter names them, and as ours (algo.onnx_export) does.
        name = weights.removesuffix(".weight").removesuffix("_weight_levels")
        sizes = [shapes.get(value) for value in (node.input[0], node.input[1], node.output[0])]
        if not all(size and all(size) for size in sizes):
            raise ValueError(
                f"{path}: the shape of layer {name!r} cannot be told: export the model for images of a fixed size"
            )
        layers.append(_layer(path, name, node, *sizes))
    if not layers:
        raise ValueError(
            f"{path} has no {', '.join(LAYERS)} with constant weights; of a QONNX file, export the other form"
        )
    return tuple(layers)


def _layer(path: Path, name: str, node: Any, given: Any, weights: Any, made: Any) -> LayerShape:
    """Shape of a layer from those of its input, its weights and its output."""
    from onnx import helper

    said = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    counts = math.prod(weights), math.prod(given), math.prod(made)
    if node.op_type != "Conv":
        outputs = weights[0] if said.get("transB") else weights[-1]
        rows = math.prod(made) // outputs
        loops = Geometry(math.prod(weights) // outputs, outputs, (rows, 1), (rows, 1), linear=True)
        return LayerShape(name, rows * counts[0], *counts, loops)
    if len(weights) != 4:
        raise ValueError(f"{path}: layer {name!r} is a convolution over {len(weights) - 2} dimensions, not 2")
    pads = said.get("pads", [0] * 4)
    if said.get("auto_pad", b"NOTSET") != b"NOTSET" or pads[:2] != pads[2:]:
        raise ValueError(f"{path}: layer {name!r} is padded by a rule or unevenly: export it with even pads")
    loops = Geometry(
        given[1], made[1], _pair(given[2:]), _pair(made[2:]), _pair(weights[2:]),
        stride=_pair(said.get("strides", (1, 1))), padding=_pair(pads[:2]),
        dilation=_pair(said.get("dilations", (1, 1))), groups=said.get("group", 1),
    )  # fmt: skip
    return LayerShape(name, math.prod(made[2:]) * counts[0], *counts, loops)


def _weights(value: str, makers: dict[str, Any], constants: set[str]) -> str | None:
    """Name of the constant that a value is made of by (de)quantising and transposing, if it is made so."""
    while value not in constants:
        maker = makers.get(value)
        if maker is None or not maker.input:
            return value if maker is not None and maker.op_type == "Constant" else None
        if maker.op_type not in ("DequantizeLinear", "QuantizeLinear", "Clip", "Cast", "Transpose", "Identity"):
            return None
        value = maker.input[0]
    return value


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    height, width = sizes
    return height, width


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
