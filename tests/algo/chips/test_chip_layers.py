"""Layers of networks: their shapes, from PyTorch and from ONNX files, and what each costs."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.chips.by_name import network_layers, open_chip
from algo.chips.evolver import EvolverChip
from algo.nets.registry import NETWORKS, network_builder, published_width
from algo.published.evolver import vgg8_layers
from algo.space.layers import Geometry, LayerShape
from algo.space.policy import Policy
from tests.chip_samples import DENSE, EVOLVER, TINY, bits
from tests.command_line import rlu


@given(st.tuples(*[bits] * 8), st.tuples(*[bits] * 8), st.integers(0, 8))
@settings(max_examples=30)
def test_a_policy_costs_what_its_layers_cost(weights, activations, point):
    whole = EVOLVER.measure(Policy(weights, activations, point))
    pairs = enumerate(zip(weights, activations, strict=True))
    parts = [EVOLVER.measure_layer(index, w, a, point) for index, (w, a) in pairs]
    assert sum(part.latency_ms for part in parts) == pytest.approx(whole.latency_ms, rel=1e-12)
    assert sum(part.energy_uj for part in parts) == pytest.approx(whole.energy_uj, rel=1e-12)


def test_the_loops_of_a_network_are_those_that_a_forward_pass_shows():
    import torch
    from torch import nn

    from algo.nets.layer_shapes import layer_shapes
    from algo.nets.models.vgg8 import VGG8

    found = layer_shapes(VGG8(classes=10, channels=1, width=4), (1, 32, 32))
    assert [layer.geometry for layer in found] == [layer.geometry for layer in network_layers("vgg8:4x1x10")]
    assert network_layers("vgg8") == vgg8_layers(128, 3, 100)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.same, self.shrinking = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, stride=2)
            self.named = nn.Conv2d(2, 2, 3, padding="same")

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.shrinking(self.shrinking(self.named(self.same(self.same(images)))))

    same, shrinking, named = layer_shapes(Twice(), (2, 16, 16))
    assert same.geometry == Geometry(2, 2, (16, 16), (16, 16), uses=2)
    assert shrinking.geometry is None and named.geometry is None


@pytest.mark.parametrize("name", ["vgg9", "vgg8:", "vgg8:8", "vgg8:0x1x10", "vgg8:8x1x10x2", "resnet34:64"])
def test_networks_without_a_name_are_refused(name):
    with pytest.raises(ValueError, match=f"ends in .onnx, not '{name}'"):
        network_layers(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_with_a_name_can_be_put_on_a_chip(name):
    from algo.nets.layer_shapes import layer_shapes

    def costs(layers):
        return [dataclasses.replace(layer, name="") for layer in layers]

    build = network_builder(name)
    assert costs(network_layers(f"{name}:4x1x10")) == costs(layer_shapes(build(10, 1, (32, 32), 4), (1, 32, 32)))
    published = layer_shapes(build(100, 3, (32, 32), published_width(name)), (3, 32, 32))
    assert costs(network_layers(name)) == costs(published)


def test_a_network_in_a_file_can_be_put_on_a_chip(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\n"
        "def make(classes, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 3, 2), nn.Flatten(), nn.Linear(900, classes))\n"
    )
    conv, last = network_layers(f"{path}:make")
    assert (conv.macs, last.weights) == (15 * 15 * 4 * 3 * 9, 900 * 100)


def test_the_layers_can_be_those_that_a_run_trains(tmp_path, capsys):
    images = np.random.default_rng(1).integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(tmp_path / "my.npz", images=images, labels=np.arange(60) % 3)
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make(classes, channels, image_size, width=4):\n"
        "    values = width * image_size[0] * image_size[1]\n"
        "    return nn.Sequential(nn.Conv2d(channels, width, 1), nn.Flatten(), nn.Linear(values, classes))\n"
    )
    usual = ("chip", "table", "--network", f"{tmp_path / 'net.py'}:make", "--data", tmp_path / "my.npz", "--json")
    chip = EvolverChip([LayerShape("0", 64 * 2, 2, 64, 128), LayerShape("2", 128 * 3, 128 * 3, 128, 3)])
    code, out, said = rlu(capsys, *usual, "--width", "2", "--weight-bits", "2", "--point", "0")
    assert code == 0, said
    found = [row["latency_ms"] for row in json.loads(out)["rows"]]
    assert found == [chip.measure_layer(layer, 2, 8, 0).latency_ms for layer in range(2)]
    for wrong, words in (
        (("chip", "table", "--width", "2"), "--width is for --data"),
        ((*usual, "--width", "0"), "width must be in 1..512, not 0"),
        (("chip", "table", "--network", "vgg8", "--data", "digits"), "--data is for --network FILE.py:FUNCTION"),
    ):
        code, _, said = rlu(capsys, *wrong)
        assert code == 2 and words in said


def test_depthwise_layers_cost_what_their_groups_leave():
    """A convolution in groups of one channel has one product where a full one has as many as channels."""
    from algo.chips.evolver import EvolverChip
    from algo.space.layers import LayerShape

    full = Geometry(32, 32, (8, 8), (8, 8), (3, 3), padding=(1, 1))
    depthwise = dataclasses.replace(full, groups=32)
    values = 32 * 64
    layers = [
        LayerShape("full", values * 9 * 32, 9 * 32 * 32, values, values, full),
        LayerShape("depthwise", values * 9, 9 * 32, values, values, depthwise),
    ]
    (whole, part), (mapped, sparse) = (
        [chip.measure_layer(index, 8, 8, 0) for index in range(2)]
        for chip in (EvolverChip(layers), open_chip("zigzag", layers))
    )
    assert 0 < part.energy_uj < whole.energy_uj / 5 and part.latency_ms < whole.latency_ms
    # An array that spreads input and output channels over its rows and columns has one multiplier at work.
    assert 0 < sparse.energy_uj < mapped.energy_uj and sparse.latency_ms > mapped.latency_ms


CONVOLUTION = Geometry(4, 6, (9, 8), (5, 4), (3, 3), (2, 2), (1, 1), groups=2)


DEPTHWISE = Geometry(6, 6, (9, 8), (5, 4), (3, 3), (2, 2), (1, 1), groups=6)


@pytest.mark.parametrize(
    "loops", [TINY.geometry, DENSE.geometry, CONVOLUTION, DEPTHWISE], ids=["conv", "dense", "grouped", "depthwise"]
)
def test_layers_of_an_onnx_file(tmp_path, loops):
    import onnx
    import torch
    from torch import nn

    from algo.chips.measured import layer_model
    from algo.nets.layer_shapes import layer_shapes

    onnx.save(layer_model(loops), tmp_path / "layer.onnx")
    (found,) = network_layers(str(tmp_path / "layer.onnx"))
    if loops.linear:
        module = nn.Linear(loops.in_channels, loops.out_channels)
    else:
        rest = loops.kernel, loops.stride, loops.padding, loops.dilation, loops.groups
        module = nn.Conv2d(loops.in_channels, loops.out_channels, *rest)
    image = (64,) if loops.linear else (loops.in_channels, *loops.input_size)
    (expected,) = layer_shapes(nn.Sequential(module).to(torch.float32), image)
    assert dataclasses.replace(found, name="0") == expected and found.geometry == loops


def test_the_exported_network_has_the_layers_that_were_exported(tmp_path, capsys):
    import onnx
    import torch

    from algo.export.onnx_export import export
    from algo.nets.models.vgg8 import VGG8
    from algo.nets.quantisation import quantise

    with torch.random.fork_rng(devices=()):
        model = quantise(VGG8(classes=10, channels=1, width=2))
        images = torch.rand(2, 1, 32, 32)
        model.train()(images)  # sets the ranges of the activations
        path = tmp_path / "net.onnx"
        onnx.save(export(model.eval(), images), path)
    found, expected = network_layers(str(path)), network_layers("vgg8:2x1x10")
    assert [dataclasses.replace(layer, name="") for layer in found] == [
        dataclasses.replace(layer, name="") for layer in expected
    ]
    code, printed, _ = rlu(capsys, "chip", "measure", path, "--json")
    measured = json.loads(printed)
    assert code == 0 and measured["runs"] >= 30
    assert 0 < measured["latency_quartiles_ms"][0] <= measured["latency_ms"] <= measured["latency_quartiles_ms"][1]
    assert (measured["energy_uj"] is None) == (measured["energy_unavailable"] is not None)


def test_an_onnx_file_that_is_none_is_refused(tmp_path, capsys):
    import onnx
    from onnx import TensorProto, helper

    path = tmp_path / "bad.onnx"
    path.write_text("not one")
    for command in (("chip", "table", "--network", path), ("chip", "measure", path)):
        code, _, said = rlu(capsys, *command)
        assert code == 2 and str(path) in said and said.count("\n") == 1
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(ValueError, match="has no Conv, Gemm, MatMul with constant weights"):
        network_layers(str(path))
