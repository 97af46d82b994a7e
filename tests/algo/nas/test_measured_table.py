"""The latency table of this machine: its models, what its arithmetic makes of their times, and a real one."""

import dataclasses
import itertools
import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.chips.onnx_layers import onnx_layers
from algo.nas import measured_table as measured
from algo.nas import onnx_blocks
from algo.nas.latency_table import LatencyTable, TableError
from algo.nas.network import Network
from algo.nas.space import SPACES, Option, Space, Stage
from algo.nets.layer_shapes import layer_shapes
from tests.algo.nas.tables import made_up

TINY, IMAGE = SPACES["tiny"], (3, 16, 16)
BLOCKS = TINY.blocks(IMAGE[1:])


def networks(space):
    return st.lists(st.sampled_from(space.options), min_size=space.block_count, max_size=space.block_count).map(
        space.checked
    )


@given(networks(TINY))
@settings(max_examples=10, deadline=None)
def test_a_network_has_the_layers_of_the_one_in_pytorch(tmp_path_factory, architecture):
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    model = onnx_blocks.network_model(TINY, architecture, IMAGE, 10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    wanted = layer_shapes(Network(TINY, architecture, IMAGE[0], 10), IMAGE)
    assert [layer.geometry for layer in onnx_layers(path)] == [layer.geometry for layer in wanted]


def operators(model, folder):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(folder / "optimised.onnx"), 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def test_a_block_of_integers_runs_in_integer_kernels_alone(tmp_path):
    for block, path in itertools.product(BLOCKS, TINY.paths):
        wanted = ["QLinearConv"] * 3 + ["QLinearAdd"] * block.adds_input
        assert operators(onnx_blocks.block_model(block, path), tmp_path) == wanted


def test_a_network_of_integers_runs_in_integer_kernels():
    assert onnx_blocks.float_layers(onnx_blocks.network_model(TINY, TINY.same((5, 6, 4)), IMAGE, 10)) == []
    mixed = [Option(3, 3, 16), *TINY.same((3, 3, 8))[1:]]
    assert "Conv" in onnx_blocks.float_layers(onnx_blocks.network_model(TINY, mixed, IMAGE, 10))


def test_a_bias_of_another_step_keeps_layers_in_float_and_is_noticed(monkeypatch):
    usual = onnx_blocks._Graph.weights
    monkeypatch.setattr(onnx_blocks._Graph, "weights", lambda self, shape, one, step: usual(self, shape, one, 2 * step))
    with pytest.raises(TableError, match="runs Conv of the stem in float32 and not in integers"):
        measured.measured_table(TINY, IMAGE, 10, seconds=0)


class Machine:
    """A machine whose times are known: what a table should find."""

    CALL, STEM, HEAD, FRAME = 3.0, 5.0, 7.0, 0.7

    def __init__(self, space, image):
        self.space, self.image = space, image

    def block(self, block, path, integer):
        work = block.inputs * math.prod(block.size) * (path[0] ** 2 + path[1] * block.outputs)
        return work * (1e-3 if integer else 2.3e-3) + (0.4 if block.adds_input else 0)

    def change(self, channels, size, integer):
        return channels * math.prod(size) * (3e-3 if integer else 2e-3) + 0.1

    def chain(self, parts):
        """Blocks between layers in integers."""
        total, before = 0.0, True
        for block, path, integer in parts:
            total += self.block(block, path, integer)
            if integer != before:
                total += self.change(block.inputs, block.size, integer) + (0.5 if integer and block.adds_input else 0)
            before = integer
        last = parts[-1][0]
        return total + (0 if before else self.change(last.outputs, last.output_size, True))

    def network_model(self, space, architecture, image, classes):
        parts = [
            (block, option[:2], option.bits <= 8)
            for block, option in zip(space.blocks(image[1:]), architecture, strict=True)
        ]
        return self.CALL + self.STEM + self.HEAD + self.chain(parts)

    def table(self, monkeypatch):
        models = {
            "empty_model": lambda: self.CALL,
            "stem_model": lambda *_: self.CALL + self.STEM,
            "head_model": lambda *_: self.CALL + self.HEAD,
            "frame_model": lambda *_: self.CALL + self.FRAME,
            "block_model": lambda block, path: self.CALL + self.block(block, path, True),
            "framed_model": lambda parts: self.CALL + 2 * self.FRAME + self.chain(parts),
            "network_model": self.network_model,
            "float_layers": lambda _: [],
        }
        with monkeypatch.context() as patched:
            for name, model in models.items():
                patched.setattr(onnx_blocks, name, model)
            patched.setattr(measured, "_runnable", lambda model, what, threads: model)
            patched.setattr(measured, "interleaved_ms", lambda times, seconds: times)
            return measured.measured_table(self.space, self.image, 10)


@pytest.mark.parametrize("bits", [(4, 8, 16), (4, 8), (16,)], ids=str)
def test_a_table_says_what_networks_take_where_times_add_up(monkeypatch, bits):
    space = Space("four", 6, 1, (Stage(6, 1), Stage(10, 2, 2), Stage(12, 1)), 8, bits=bits)
    machine = Machine(space, IMAGE)
    table = machine.table(monkeypatch)
    rng = np.random.default_rng(3)
    for _ in range(200):
        network = space.checked(space.options[n] for n in rng.integers(len(space.options), size=space.block_count))
        assert table.ms(network) == pytest.approx(machine.network_model(space, network, IMAGE, 10))
    assert table.details["error_percent"] == 0 and table.details["block_factor"] == 1


def test_a_table_is_made_to_agree_with_whole_networks():
    table = made_up()
    differs = 1 - np.eye(3)
    wanted = dataclasses.replace(
        table, ends_ms=1.2 * table.ends_ms, blocks_ms=1.2 * table.blocks_ms,
        switch_ms=differs * (0.5 * table.switch_ms + 0.01),
    )  # fmt: skip
    networks = [(one, other) for one in table.space.options for other in table.space.options]
    fitted = measured._fitted(table, networks[::3], [wanted.ms(network) for network in networks[::3]])
    assert [fitted.ms(network) for network in networks] == pytest.approx([wanted.ms(network) for network in networks])
    assert fitted.details == {"block_factor": 1.2, "change_factor": 0.5, "change_ms": 0.01, "error_percent": 0}


def test_a_table_is_measured_here(tmp_path):
    table = measured.measured_table(TINY, IMAGE, 10, seconds=0)
    assert table.speeds == ("int8", "int8", "float32")
    assert (table.blocks_ms[:, :, 0] == table.blocks_ms[:, :, 1]).all() and (table.blocks_ms > 0).all()
    assert (table.switch_ms[:, :2, :2] == 0).all() and (table.switch_ms[:, 2, 2] == 0).all()
    assert 0 < table.ms(TINY.same((3, 3, 8))) < table.ms(table.largest)
    assert table.details["error_percent"] < 50  # 1 to 2 on a machine that does nothing else
    table.check_details(measured.details_here())
    with pytest.raises(TableError, match="threads was 1, and is 2 here"):
        table.check_details(measured.details_here(threads=2))
    table.write(tmp_path / "t.json")
    assert LatencyTable.read(tmp_path / "t.json").to_json() == table.to_json()


def test_whole_networks_are_measured():
    small, large = measured.measured_ms(
        [
            onnx_blocks.network_model(TINY, TINY.same((side, times, 8)), (3, 64, 64), 10)
            for side, times in ((3, 3), (5, 6))
        ],
        seconds=0,
    )
    assert 0 < small < large


def test_functions_take_turns_and_disturbances_do_not_count():
    calls = []

    def disturbed():
        calls.append("b")
        if len(calls) % 3 == 0:
            math.factorial(3000)

    ms = measured.interleaved_ms([lambda: calls.append("a"), disturbed], seconds=0)
    runs = measured.RUNS + measured.WARM_UP
    assert "".join(calls) == ("a" * runs + "b" * runs) * measured.LEAST_ROUNDS
    assert 0 < ms[0] < 0.1 and 0 < ms[1] < 0.1


def test_what_cannot_be_measured_is_named(monkeypatch):
    with pytest.raises(ValueError, match=r"threads must be in 1\.\.256, not 0"):
        measured.measured_table(TINY, IMAGE, 10, threads=0)
    broken = onnx_blocks.block_model(BLOCKS[0], (3, 3))
    broken.graph.node[-1].op_type = "Unknown"
    monkeypatch.setattr(onnx_blocks, "block_model", lambda block, path: broken)
    said = r"ONNX Runtime cannot run a block of 8 to 8 channels, 8x8, stride 1, with k3 e3 in int8: "
    with pytest.raises(TableError, match=said) as caught:
        measured.measured_table(TINY, IMAGE, 10, seconds=0)
    assert "\n" not in str(caught.value)


def test_a_network_in_float32_has_no_integers():
    model = onnx_blocks.network_model(TINY, TINY.same((3, 3, 8)), (1, 32, 32), 10, float32=True)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in model.graph.node}
    assert measured.measured_ms([model], seconds=0)[0] > 0


def test_resnet8_has_its_weights_and_runs_in_integers():
    model = onnx_blocks.resnet8_model()
    weights = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1]
    assert sum(math.prod(one.dims) for one in weights) == 77_360  # Banbury et al., 2021: 78 k parameters, with biases
    assert onnx_blocks.float_layers(model) == []
