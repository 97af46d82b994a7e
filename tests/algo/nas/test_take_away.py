"""A network leaves with files that PyTorch alone can use, and gives what it gave here."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch

from algo.export.onnx_export import export
from algo.nas.network import Network, activation_bits, block_of_layer, policy_of_bits, set_bits_found
from algo.nas.onnx_blocks import float_layers
from algo.nas.space import SPACES, Option
from algo.nas.take_away import take_away
from algo.nets.folding import fold_batch_norm
from algo.nets.quantisation import Rounding, quantised_layers
from algo.nets.tracing import trace
from tests.algo.nas.tables import made_up

SPACE = SPACES["tiny"]
MIXED = (Option(3, 6, 4), Option(5, 3, 8), Option(5, 6, 16), Option(3, 3, 4))


#: Of a device that computes 16 bits in float32.
TABLE = dataclasses.replace(made_up(SPACE), speeds=("int8", "int8", "float32"))


@pytest.fixture(params=[TABLE.in_float32, ()], ids=["16 bits in float32", "all in integers"])
def network(request):
    torch.manual_seed(1)
    made = Network(SPACE, MIXED, 1, 10)
    set_bits_found(made, request.param)
    made(torch.randn(32, 1, 32, 32))  # ranges and statistics
    return made.eval()


def test_layers_have_the_bits_of_their_blocks():
    made = Network(SPACE, MIXED, 1, 10)
    blocks = block_of_layer(made)
    assert blocks == [None, *[number for number in range(4) for _ in range(3)], None, None]
    policy = policy_of_bits(made)
    assert policy.weight_bits == (8, *[bits for bits in (4, 8, 16, 4) for _ in range(3)], 8, 8)
    assert policy.activation_bits == tuple(activation_bits(bits) for bits in policy.weight_bits)
    assert {activation_bits(bits) for bits in (2, 4, 8)} == {8} and activation_bits(16) == 16


def test_the_network_can_be_traced(network):
    assert trace(network, torch.randn(2, 1, 32, 32)) is not None


def test_the_files_need_pytorch_alone(network, tmp_path):
    for name, content in take_away(network, made_up(SPACE)).items():
        (tmp_path / name).write_bytes(content)
    images = torch.randn(16, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    torch.save(images, tmp_path / "images.pt")
    program = (
        "import sys, torch, network\n"
        "images = torch.load('images.pt')\n"
        "found, plain = network.load(), network.network().eval()\n"
        "torch.save((found(images).detach(), plain(images).detach()), 'logits.pt')\n"
        "assert not any(name.split('.')[0] in ('algo', 'sim', 'rtl') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    found, plain = torch.load(tmp_path / "logits.pt")
    with torch.no_grad():
        wanted = network(images)
    assert torch.equal(found, wanted)
    assert not torch.allclose(plain, wanted, atol=1e-6)  # without rounding
    network_in_float = Network(SPACE, MIXED, 1, 10)
    network_in_float.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.allclose(network_in_float.eval()(images), plain, atol=1e-5)


def test_the_description_says_what_was_chosen(network):
    facts = json.loads(take_away(network, made_up(SPACE))["network.json"])
    assert [(b["kernel"], b["expansion"], b["bits"]) for b in facts["blocks"]] == [tuple(option) for option in MIXED]
    assert facts["latency_ms"] == made_up(SPACE).ms(MIXED)
    assert facts["layers"]["blocks.3.layers.0"] == {"weight_bits": 4, "activation_bits": 8, "rounds_input": True}
    assert facts["roundings"]["features"] == {"activation_bits": 8}


def rounded(made):
    """Names of what is rounded between layers, and of layers that do not round their input."""
    alone = {name for name, module in made.named_modules() if isinstance(module, Rounding)}
    return alone, {name for name, layer in quantised_layers(made) if not layer.rounds_input}


def test_everything_between_layers_of_integers_is_rounded_once():
    made = Network(SPACE, SPACE.same((3, 3, 8)), 1, 10)
    set_bits_found(made, TABLE.in_float32)
    ends = {"features", "means"}
    assert [block.adds_input for block in made.blocks] == [True, False, True, False]
    sums = {f"blocks.{number}.{part}" for number in (0, 2) for part in ("given", "made")}
    assert rounded(made) == (ends | sums, {"blocks.0.layers.0", "blocks.2.layers.0", "classifier"})
    made = Network(SPACE, MIXED, 1, 10)  # its third block is in float32, and adds its input
    set_bits_found(made, TABLE.in_float32)
    in_float = {f"blocks.2.layers.{layer}" for layer in (0, 3, 6)}
    assert rounded(made) == (
        {*ends, "blocks.0.given", "blocks.0.made", "blocks.2.given"},
        {"blocks.0.layers.0", *in_float, "classifier"},
    )


@pytest.mark.parametrize("option", [(3, 3, 8), (5, 6, 4)])
def test_what_is_exported_runs_in_integers_as_what_is_measured(option):
    """All but the last layer, whose logits are float32."""
    torch.manual_seed(1)
    made = Network(SPACE, SPACE.same(option), 1, 10)
    set_bits_found(made, TABLE.in_float32)
    made(torch.randn(32, 1, 32, 32))
    few = torch.randn(2, 1, 32, 32)
    plain = export(made.eval(), few)
    fold_batch_norm(made, few)
    integers = export(made, few, integer_kernels=True)
    assert float_layers(integers) == ["Gemm"] and "Conv" in float_layers(plain)
