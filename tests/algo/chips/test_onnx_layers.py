"""Networks in ONNX files as others export them: what they cost for one image, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from algo.chips.by_name import network_layers, open_chip
from algo.chips.evolver import EvolverChip
from algo.chips.onnx_layers import images_at_once
from algo.space.layers import Geometry, LayerShape
from algo.space.policy import Policy
from tests.chip_samples import TINY
from tests.command_line import rlu

Sizes = list[Any] | None
node = helper.make_node
CONV = node("Conv", ["x", "conv.weight"], ["a"], kernel_shape=[3, 3], pads=[1] * 4)
FLAT = node("Flatten", ["a"], ["f"])
FC = node("Gemm", ["f", "fc.weight"], ["y"], transB=1)
WEIGHTS = {"conv.weight": (8, 1, 3, 3), "fc.weight": (3, 512)}


def saved(
    folder: Path,
    nodes: list[Any],
    weights: dict[str, tuple[int, ...]],
    given: Sizes = (1, 1, 8, 8),  # type: ignore[assignment]
    made: Sizes = (1, 3),  # type: ignore[assignment]
    **more: Any,
) -> Path:
    """A model of these nodes, from ``x`` to ``y``; weights of the given shapes."""
    random = np.random.default_rng(1)
    constants = [numpy_helper.from_array(random.random(shape, np.float32), name) for name, shape in weights.items()]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", given), ("y", made))
    ]
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in more.pop("domains", ()))]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], constants)
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8, **more), path)
    return path


def costs(path: Path) -> list[tuple[str, int, int, int, int]]:
    layers = network_layers(str(path))
    return [(la.name, la.macs, la.weights, la.input_values, la.output_values) for la in layers]


ONE = [("conv", 64 * 72, 72, 64, 512), ("fc", 1536, 1536, 512, 3)]


@pytest.mark.parametrize("batch", [1, 8, -1, "N"])
def test_a_batch_of_any_size_costs_one_image(tmp_path: Path, batch: int | str) -> None:
    path = saved(tmp_path, [CONV, FLAT, FC], WEIGHTS, [batch, 1, 8, 8], [batch, 3])
    assert costs(path) == ONE
    conv, fc = (layer.geometry for layer in network_layers(str(path)))
    assert conv == Geometry(1, 8, (8, 8), (8, 8), (3, 3), padding=(1, 1)) and fc == Geometry(512, 3, linear=True)
    chip = EvolverChip(network_layers(str(path)))
    assert chip.measure(Policy((8, 8), (8, 8), 0)).energy_uj > 0


@given(
    batch=st.integers(1, 9),
    groups=st.sampled_from((1, 2)),
    stride=st.integers(1, 2),
    rows=st.integers(1, 4),
    kind=st.sampled_from(("Gemm", "MatMul", "left")),
)
@settings(max_examples=25)
def test_the_layers_of_a_batch_are_those_of_one_image(
    tmp_path_factory: pytest.TempPathFactory, batch: int, groups: int, stride: int, rows: int, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("net")
    nodes = [node("Conv", ["x", "conv.weight"], ["a"], group=groups, strides=[stride] * 2, kernel_shape=[2, 2])]
    side = 3 if stride == 2 else 5
    features = 4 * side * side
    if kind == "left":  # weights on the left of the product
        nodes += [node("Reshape", ["a", "shape"], ["f"]), node("MatMul", ["fc.weight", "f"], ["p"])]
        nodes += [node("ReduceMean", ["p"], ["y"], axes=[2], keepdims=0)]
        weight = (rows, 4)
    elif kind == "MatMul":
        nodes += [node("Reshape", ["a", "shape"], ["f"]), node("Transpose", ["f"], ["t"], perm=[0, 2, 1])]
        nodes += [node("MatMul", ["t", "fc.weight"], ["p"]), node("ReduceMean", ["p"], ["y"], axes=[1], keepdims=0)]
        weight = (4, rows)
    else:
        nodes += [node("Flatten", ["a"], ["f"]), node("Gemm", ["f", "fc.weight"], ["y"])]
        weight = (features, rows)
    found = []
    for images in (1, batch):
        shape = numpy_helper.from_array(np.array([images, 4, side * side]), "shape")
        path = saved(folder, nodes, {"conv.weight": (4, 2 // groups, 2, 2), "fc.weight": weight}, [images, 2, 6, 6],
                     [images, rows])  # fmt: skip
        model = onnx.load(path)
        model.graph.initializer.append(shape)
        onnx.save(model, path)
        found.append(network_layers(str(path)))
    one, many = found
    assert one == many
    conv, fc = one
    assert conv.macs == side * side * 4 * 4 * 2 // groups and conv.geometry and conv.geometry.groups == groups
    times = 1 if kind == "Gemm" else side * side
    expected = Geometry(weight[0] if kind != "left" else 4, rows, (times, 1), (times, 1), linear=True)
    assert fc.geometry == expected and fc.macs == times * expected.in_channels * rows


def test_weights_used_twice_are_one_layer_in_a_csv_that_is_read_again(tmp_path: Path, capsys: Any) -> None:
    again = [node("Conv", [given, "b.weight"], [made], pads=[1] * 4) for given, made in (("a", "b"), ("b", "c"))]
    nodes = [CONV, *again, node("Flatten", ["c"], ["f"]), FC]
    path = saved(tmp_path, nodes, WEIGHTS | {"b.weight": (8, 8, 3, 3)})
    both = network_layers(str(path))[1]
    assert (both.name, both.weights, both.macs) == ("b", 576, 2 * 64 * 576)
    assert both.geometry == Geometry(8, 8, (8, 8), (8, 8), (3, 3), padding=(1, 1), uses=2)
    table = tmp_path / "table.csv"
    assert rlu(capsys, "chip", "table", "--network", path, "--format", "csv", "-o", table)[0] == 0
    code, printed, said = rlu(capsys, "chip", "table", "--chip", table, "--network", path, "--format", "csv")
    assert (code, said) == (0, "") and printed == table.read_text()
    # On another shape it is not one loop nest any more.
    pooled = [
        again[0],
        node("MaxPool", ["b"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["m", "b.weight"], ["c"]),
    ]
    weights = {"conv.weight": (8, 1, 3, 3), "b.weight": (8, 8, 3, 3), "fc.weight": (3, 32)}
    path = saved(tmp_path, [CONV, *pooled, node("Flatten", ["c"], ["f"]), FC], weights)
    assert [layer.geometry is None for layer in network_layers(str(path))] == [False, True, False]


def test_constant_weights_count_however_they_are_computed(tmp_path: Path) -> None:
    scaled = [node("Mul", ["conv.weight", "scale"], ["scaled"]), node("Conv", ["x", "scaled"], ["a"], pads=[1] * 4)]
    path = saved(tmp_path, [*scaled, FLAT, FC], WEIGHTS | {"scale": (8, 1, 1, 1)})
    assert [(name, *rest[:1]) for name, *rest in costs(path)] == [("scaled", 64 * 72), ("fc", 1536)]


def test_a_models_functions_are_looked_into(tmp_path: Path) -> None:
    inner = [node("Conv", ["v", "w"], ["r"], kernel_shape=[3, 3], pads=[1] * 4)]
    function = helper.make_function("ours", "Block", ["v", "w"], ["r"], inner, [helper.make_opsetid("", 17)])
    call = node("Block", ["x", "conv.weight"], ["a"], domain="ours")
    assert costs(saved(tmp_path, [call, FLAT, FC], WEIGHTS, functions=[function], domains=["ours"])) == ONE


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        (("w.weight", "w"), ["w.weight", "w"]),
        (("w_weight_levels", "w.weight"), ["w_weight_levels", "w.weight"]),
        ((".weight", "b.weight"), [".weight", "b"]),
        (("a\nb.weight", "a  b.weight"), ["a b.weight", "a b.weight_"]),
        (("conv, first\r.weight", "# fc"), ["conv, first", "# fc"]),
    ],
)
def test_layers_get_names_of_their_own_that_a_csv_can_hold(
    tmp_path: Path, capsys: Any, weights: tuple[str, str], names: list[str]
) -> None:
    conv = node("Conv", ["x", weights[0]], ["a"], pads=[1] * 4)
    fc = node("Gemm", ["f", weights[1]], ["y"], transB=1)
    path = saved(tmp_path, [conv, FLAT, fc], dict(zip(weights, WEIGHTS.values(), strict=True)))
    assert [layer.name for layer in network_layers(str(path))] == names
    table = tmp_path / "table.csv"
    rlu(capsys, "chip", "table", "--network", path, "--format", "csv", "-o", table)
    assert open_chip(str(table), network_layers(str(path))).layer_names == tuple(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "a"), "two layers are called 'a'"),
        (("a", ""), "must be one line without spaces around it, not ''"),
        (("a", " b"), "not ' b'"),
        (("a", "b\n"), r"not 'b\\n'"),
        (("a", "b\u2028c"), "one line"),
    ],
)
def test_a_chip_takes_no_names_that_a_table_could_not_hold(names: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvolverChip([dataclasses.replace(TINY, name=name) for name in names])


def branches() -> list[Any]:
    made = [helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 8, 8, 8])]
    either = helper.make_graph([CONV], "either", [], made)
    condition = node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    return [condition, node("If", ["yes"], ["a"], name="choice", then_branch=either, else_branch=either), FLAT, FC]


PRODUCT = [FLAT, node("MatMul", ["f", "t"], ["s"], name="scores"), node("MatMul", ["s", "fc.weight"], ["y"])]


@pytest.mark.parametrize(
    ("nodes", "weights", "shapes", "message"),
    [
        (
            [node("Relu", ["x"], ["k"]), node("Conv", ["x", "k"], ["a"], name="dynamic"), FLAT, FC],
            {"fc.weight": (3, 1)},
            {},
            r"operator 'dynamic' \(Conv\) has weights that are computed from the images",
        ),
        (
            [CONV, FLAT, node("Transpose", ["f"], ["t"]), *PRODUCT[1:]],
            WEIGHTS | {"fc.weight": (1, 3)},
            {},
            r"operator 'scores' \(MatMul\) has weights that are computed from the images",
        ),
        (
            [node("ConvTranspose", ["x", "up.weight"], ["x2"]), node("Conv", ["x2", "conv.weight"], ["a"]), FLAT, FC],
            WEIGHTS | {"up.weight": (1, 1, 3, 3)},
            {},
            r"operator 'x2' \(ConvTranspose\) cannot be counted: only Conv, Gemm, MatMul",
        ),
        (branches(), WEIGHTS, {}, r"operator 'choice' \(If\) holds a Conv, and how often that runs is unknown"),
        (
            [CONV, FLAT, node("QGemm", ["f", "fc.weight"], ["y"], domain="com.microsoft")],
            WEIGHTS,
            {"domains": ["com.microsoft"]},
            r"operator 'y' \(QGemm\) is one of com.microsoft, whose work is unknown",
        ),
        (
            [node("Conv", ["x", "w"], ["a"]), node("Flatten", ["a"], ["y"])],
            {"w": (3, 1, 8)},
            {"given": [1, 1, 8]},
            "layer 'w' is a convolution over 1 dimensions, not 2",
        ),
        ([CONV, FLAT, FC], WEIGHTS, {"given": ["N", 1, "H", "W"]}, "layer 'conv' is unknown: export the model for"),
        ([CONV, FLAT, FC], WEIGHTS, {"given": [1, 1, -1, -1]}, "layer 'conv' is unknown: export the model for"),
        ([CONV, FLAT, FC], WEIGHTS, {"given": [1, 1, 9, 9]}, "the shapes in it do not fit together"),
        ([CONV, FLAT, FC], WEIGHTS, {"given": None}, "this is not a valid ONNX model: Field 'shape'"),
        (
            [node("Unsqueeze", ["x", "axis"], ["x4"]), node("Conv", ["x4", "w"], ["a"]), node("Flatten", ["a"], ["y"])],
            {"w": (2, 3, 8, 8)},
            {"given": [3, 8, 8], "made": [1, 2]},
            "the input's first size is 3 but no output's is",
        ),
        (
            [node("Quant", ["conv.weight", "s", "s", "s"], ["w"], domain="qonnx.custom_op.general"), CONV, FLAT, FC],
            WEIGHTS | {"s": ()},
            {"domains": ["qonnx.custom_op.general"]},
            "this is a QONNX file",
        ),
    ],
)
def test_work_that_cannot_be_told_is_named(
    tmp_path: Path, capsys: Any, nodes: list[Any], weights: Any, shapes: dict[str, Any], message: str
) -> None:
    path = saved(tmp_path, nodes, weights, **{"made": ["N", 3]} | shapes)
    if "axis" in {name for made in nodes for name in made.input}:
        model = onnx.load(path)
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis"))
        onnx.save(model, path)
    with pytest.raises(ValueError, match=message):
        network_layers(str(path))
    code, printed, said = rlu(capsys, "chip", "table", "--network", path)
    assert (code, printed) == (2, "") and said.startswith(f"rlu: {path}: ") and said.count("\n") == 1


def test_images_that_are_not_worked_on_alike_are_refused(tmp_path: Path) -> None:
    mixed = [FLAT, node("Transpose", ["f"], ["t"]), node("MatMul", ["t", "mix.weight"], ["m"])]
    nodes = [CONV, *mixed, node("Transpose", ["m"], ["back"]), node("Gemm", ["back", "fc.weight"], ["y"], transB=1)]
    path = saved(tmp_path, nodes, WEIGHTS | {"mix.weight": (3, 3)}, [3, 1, 8, 8], [3, 3])
    with pytest.raises(ValueError, match="layer 'mix' does not do the same for each of 3 images"):
        network_layers(str(path))


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9))
def test_how_many_images_a_run_takes(first: int, made: int, classes: int) -> None:
    given_shapes, made_shapes = [(first, 1, 8, 8)], [(classes,), (made, 4)]
    if first <= 1:
        assert images_at_once(given_shapes, made_shapes) == 1
    elif first in (made, classes):
        assert images_at_once(given_shapes, made_shapes) == first
    else:
        with pytest.raises(ValueError, match=f"first size is {first}"):
            images_at_once(given_shapes, made_shapes)
    assert images_at_once([(first,)], made_shapes) == 1 == images_at_once([], made_shapes)


@pytest.mark.parametrize(("batch", "images"), [(1, 1), ("N", 1), (8, 8)])
def test_a_measurement_says_how_many_images_a_run_takes(
    tmp_path: Path, capsys: Any, batch: int | str, images: int
) -> None:
    path = saved(tmp_path, [CONV, FLAT, FC], WEIGHTS, [batch, 1, 8, 8], [batch, 3])
    figures = json.loads(rlu(capsys, "chip", "measure", path, "--json")[1])
    words = "one image at a time" if images == 1 else f"{images} images at a time"
    assert figures["images_per_run"] == images and figures["origin"].endswith(words)
    code, printed, _ = rlu(capsys, "chip", "measure", path)
    assert code == 0 and words in printed and " ms per image, the median of " in printed


def test_a_runs_time_is_shared_by_its_images() -> None:
    import time

    from algo.chips.measured import time_runs

    timing = time_runs(lambda: time.sleep(0.002), images=10)
    assert 0.2 <= timing.low_ms <= timing.median_ms <= timing.high_ms < 2


@pytest.mark.parametrize(
    ("given_shape", "message"),
    [
        (["N", 1, "H", "W"], r"input 'x' has the shape \['N', 1, 'H', 'W'\]: export the model for images of a fixed"),
        (None, r"input 'x' has the shape \[\]: export the model"),
    ],
)
def test_only_images_of_a_fixed_size_are_measured(
    tmp_path: Path, capsys: Any, given_shape: Sizes, message: str
) -> None:
    import re

    path = saved(tmp_path, [CONV, FLAT, FC], WEIGHTS, given_shape, ["N", 3])
    code, printed, said = rlu(capsys, "chip", "measure", path)
    assert (code, printed) == (2, "") and re.search(message, said) and said.count("\n") == 1


def test_a_model_that_fails_when_it_is_run_is_refused(tmp_path: Path, capsys: Any) -> None:
    picked = [node("Gather", ["x", "far"], ["y"], axis=3)]
    path = saved(tmp_path, picked, {}, made=[1, 1, 8, 1])
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array([99]), "far"))
    onnx.save(model, path)
    code, printed, said = rlu(capsys, "chip", "measure", path)
    assert (code, printed) == (2, "") and f"ONNX Runtime cannot run {path}" in said and said.count("\n") == 1


def test_several_matrices_side_by_side_are_no_single_loop_nest(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "heads"], ["m"]), node("Flatten", ["m"], ["y"])]
    path = saved(tmp_path, nodes, {"heads": (4, 5, 6)}, [2, 4, 3, 5], [2, 72])
    (layer,) = network_layers(str(path))
    assert layer == LayerShape("heads", 4 * 3 * 5 * 6, 120, 60, 72, None)
