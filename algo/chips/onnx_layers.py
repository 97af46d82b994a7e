"""Layers of a network in an ONNX file: with it, any network can be put on a chip without PyTorch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algo.space.layers import Geometry, LayerShape

LAYERS = ("Conv", "Gemm", "MatMul")
#: Other operators that multiply matrices, whose work would be missing from the sum.
_UNCOUNTED = (
    "Attention", "ConvInteger", "ConvTranspose", "DeformConv", "Einsum", "GRU", "LSTM", "MatMulInteger", "QLinearConv",
    "QLinearMatMul", "RNN",
)  # fmt: skip
_SAME_WEIGHTS = ("DequantizeLinear", "QuantizeLinear", "Clip", "Cast", "Transpose", "Identity")
_FIXED_SIZE = "export the model for images of a fixed size"

Shape = tuple[int, ...]


def onnx_layers(path: Path) -> tuple[LayerShape, ...]:
    """Every convolution and fully connected layer of an ONNX model, for one image, in the model's order.

    Layers have the names of their weights. Weights that are used twice make one layer with twice the work.

    Args:
        path: the model; a batch of unknown size counts as 1, and work is divided by a fixed batch size.

    Raises:
        ValueError: if it is not an ONNX model, has no such layer, or one whose work for an image is unknown; the
            message names the layer.
    """
    try:
        return _layers(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def images_at_once(given: Sequence[Shape], made: Sequence[Shape]) -> int:
    """How many images a run of a network takes: the first size of its input, which its output must have too.

    Args:
        given, made: shapes of inputs and outputs, 0 for a size that is not fixed.

    Raises:
        ValueError: if the first size of the input may be one of the image.
    """
    images = given[0][0] if given and len(given[0]) > 1 else 1
    if images > 1 and not any(shape[:1] == (images,) for shape in made):
        raise ValueError(
            f"the input's first size is {images} but no output's is, so the number of images is unknown: "
            "export the model for one image, its input of shape (1, ...)"
        )
    return max(images, 1)


@dataclass(frozen=True)
class _Use:
    """One use of weights: what they are called in the file, their node, and which of its inputs they are."""

    weights: str
    node: Any
    position: int


def _layers(path: Path) -> tuple[LayerShape, ...]:
    graph = _with_shapes(path)
    shapes = {value.name: _shape(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    constants = {constant.name: tuple(constant.dims) for constant in graph.initializer}
    constants |= {constant.values.name: tuple(constant.dims) for constant in graph.sparse_initializer}
    shapes |= constants
    given = [shapes[value.name] for value in graph.input if value.name not in constants]
    images = images_at_once(given, [shapes[value.name] for value in graph.output])
    uses = list(_uses(graph, shapes, set(constants)))
    if not uses:
        raise ValueError(f"it has no {', '.join(LAYERS)} with constant weights: a chip has nothing to run")
    names = _names(dict.fromkeys(use.weights for use in uses))
    found: dict[str, LayerShape] = {}
    for use in uses:
        name = names[use.weights]
        sizes = [shapes.get(value, ()) for value in (*use.node.input[:2], use.node.output[0])]
        if not all(size and all(size) for size in sizes):
            raise ValueError(f"the shape of layer {name!r} is unknown: {_FIXED_SIZE}")
        layer = _layer(name, use, images, *sizes)
        found[name] = found[name].and_again(layer) if name in found else layer
    return tuple(found.values())


def _with_shapes(path: Path) -> Any:
    """The graph of a model, its functions written out, with the shape of every value, as far as it is known."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import inliner, shape_inference

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"this is not a valid ONNX model: {' '.join(str(error).split())[:200]}") from None
    if any(opset.domain.startswith("qonnx") for opset in model.opset_import):
        raise ValueError("this is a QONNX file, whose shapes are unknown: export the other format, --format onnx")
    if model.functions:
        model = inliner.inline_local_functions(model)
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_value < 0:  # some write an unknown size like this
                size.ClearField("dim_value")
    for value in model.graph.input:
        for size in value.type.tensor_type.shape.dim[:1]:
            size.dim_value = size.dim_value or 1
    # Values inside a file were inferred for a batch of any size.
    del model.graph.value_info[:]
    try:
        return shape_inference.infer_shapes(model, data_prop=True, strict_mode=True).graph
    except shape_inference.InferenceError as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"the shapes in it do not fit together ({said}): {_FIXED_SIZE}") from None


def _uses(graph: Any, shapes: dict[str, Shape], constants: set[str]) -> Iterator[_Use]:
    """Every use of weights, in order; ValueError for work that a sum over layers cannot contain."""
    makers: dict[str, Any] = {}
    for node in graph.node:  # after all that it takes
        makers |= dict.fromkeys(node.output, node)
        where = f"operator {node.name or node.output[0]!r} ({node.op_type})"
        parts = list(_inside(node))
        for inner in parts:
            if inner.op_type in (*LAYERS, *_UNCOUNTED):
                raise ValueError(f"{where} holds a {inner.op_type}, and how often that runs is unknown")
        constant = [value in constants for value in node.input if value]
        if all(constant) and not parts:
            constants.update(node.output)
            continue
        weights = [n for n, value in enumerate(node.input) if value in constants and _is_matrix(shapes.get(value, ()))]
        if node.domain not in ("", "ai.onnx"):
            if weights:
                raise ValueError(
                    f"{where} is one of {node.domain}, whose work is unknown: export with ONNX's own operators"
                )
        elif node.op_type in _UNCOUNTED:
            raise ValueError(f"{where} cannot be counted: only {', '.join(LAYERS)} with constant weights can")
        elif node.op_type in LAYERS:
            position = next((n for n in (1, 0) if node.input[n] in constants), None)
            if position is None or (node.op_type == "Conv" and position == 0):
                raise ValueError(
                    f"{where} has weights that are computed from the images and cannot have a bit-width: "
                    "only layers with constant weights can be counted"
                )
            yield _Use(_source(node.input[position], makers), node, position)


def _inside(node: Any) -> Iterator[Any]:
    """Nodes of the graphs that a node holds, such as the branches of an If."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield inner
                yield from _inside(inner)


def _is_matrix(shape: Shape) -> bool:
    return sum(size > 1 for size in shape) > 1


def _source(value: str, makers: dict[str, Any]) -> str:
    """Name of the constant that weights are made of by (de)quantising and transposing; else their own."""
    source = value
    while (maker := makers.get(source)) is not None and maker.input:
        if maker.op_type not in _SAME_WEIGHTS:
            return value
        source = maker.input[0]
    return source


def _names(weights: Iterable[str]) -> dict[str, str]:
    """Names of layers, all different, each on one line: those of the weights, without what exporters append."""
    # As PyTorch's exporter names them, and as ours (algo.export.onnx_export) does.
    short = {name: name.removesuffix(".weight").removesuffix("_weight_levels") for name in weights}
    counts = Counter(" ".join(name.split()) for name in short.values())
    names: dict[str, str] = {}
    for full, brief in short.items():
        name = " ".join(brief.split())
        if not name or counts[name] > 1:
            name = " ".join(full.split()) or "layer"
        while name in names.values():
            name += "_"
        names[full] = name
    return names


def _layer(name: str, use: _Use, images: int, left: Shape, right: Shape, made: Shape) -> LayerShape:
    """Shape of a layer, from the shapes of its two inputs (one is its weights) and of its output."""
    from onnx import helper

    weights, given = (right, left) if use.position else (left, right)
    said = {attribute.name: helper.get_attribute_value(attribute) for attribute in use.node.attribute}

    def an_image(total: int) -> int:
        if total % images:
            raise ValueError(
                f"layer {name!r} does not do the same for each of {images} images: export it for one image"
            )
        return total // images

    counts = math.prod(weights), an_image(math.prod(given)), an_image(math.prod(made))
    if use.node.op_type != "Conv":
        outputs, matrices = _outputs(use, said, weights), math.prod(weights[:-2])
        rows = an_image(math.prod(made) // outputs)
        features = counts[0] // outputs // matrices
        # Several matrices side by side are not the loops of one fully connected layer.
        loops = Geometry(features, outputs, (rows, 1), (rows, 1), linear=True) if matrices == 1 else None
        return LayerShape(name, rows * outputs * features, *counts, loops)
    if len(weights) != 4:
        raise ValueError(f"layer {name!r} is a convolution over {len(weights) - 2} dimensions, not 2")
    pads = said.get("pads", [0] * 4)
    if said.get("auto_pad", b"NOTSET") != b"NOTSET" or pads[:2] != pads[2:]:
        raise ValueError(f"layer {name!r} is padded by a rule or unevenly: export it with even pads")
    loops = Geometry(
        given[1], made[1], _pair(given[2:]), _pair(made[2:]), _pair(weights[2:]),
        stride=_pair(said.get("strides", (1, 1))), padding=_pair(pads[:2]),
        dilation=_pair(said.get("dilations", (1, 1))), groups=said.get("group", 1),
        uses=an_image(made[0]),
    )  # fmt: skip
    return LayerShape(name, loops.uses * math.prod(made[2:]) * counts[0], *counts, loops)


def _outputs(use: _Use, said: dict[str, Any], weights: Shape) -> int:
    """Output features of a matrix of weights."""
    if len(weights) == 1:
        return 1
    # In a product, the right matrix has the outputs last, the left one has them first.
    last = bool(use.position) != bool(said.get("transB" if use.position else "transA"))
    return weights[-1] if last else weights[-2]


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    height, width = sizes
    return height, width


def _shape(value: Any) -> Shape:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
