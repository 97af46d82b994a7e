"""Exported networks, run by ONNX Runtime and by qonnx, predict what PyTorch does; the whole path of `rlu export`."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from algo.cli import main
from algo.export import onnx_export
from algo.export.export_run import Exported, before_after
from algo.export.onnx_check import Agreement, agreement, run_onnx
from algo.export.onnx_export import FORMATS, Format, export
from algo.nets.folding import fold_batch_norm
from algo.nets.models.mobilenetv2 import MobileNetV2
from algo.nets.models.resnet34 import ResNet34
from algo.nets.models.vgg8 import VGG8
from algo.nets.quantisation import quantise, quantised_layers, set_bits, weight_levels
from algo.nets.train.sgd import train
from algo.nets.training_config import TrainingConfig
from sim.devices.shadow import Disagreement

_random = np.random.default_rng(0)
LABELS = np.arange(60) % 10
# Ten patterns under noise: quickly learned, and not all images look alike to the network.
IMAGES = _random.normal(size=(10, 1, 32, 32))[LABELS] + 0.7 * _random.normal(size=(60, 1, 32, 32))
IMAGES = IMAGES.astype(np.float32)
FEW = torch.from_numpy(IMAGES[:2])


class ShortResNet(ResNet34):
    BLOCKS = (1, 1, 1, 1)


class ShortMobileNet(MobileNetV2):
    STAGES = ((1, 16, 1, 2), (6, 24, 2, 2), (6, 32, 1, 2))


@cache
def trained(kind: type[nn.Module]) -> nn.Module:
    """A float network that tells most of the images apart."""
    torch.manual_seed(0)
    model = kind(10, 1, 4)
    adjust(model, 40 if kind is MobileNetV2 else 6)
    return model


def adjust(model: nn.Module, epochs: int) -> None:
    """Train a little."""
    images, labels = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)
    train(model, images, labels, TrainingConfig(), epochs, 20, 0.03, torch.Generator().manual_seed(1))


def network(
    kind: type[nn.Module] = VGG8,
    activations: str = "minmax",
    folded: bool = False,
    seed: int = 0,
    bits: int | None = None,
) -> nn.Module:
    """A network retrained under bit-widths of 2, 4, 8 drawn for all layers and their inputs, or the same for all."""
    model = quantise(copy.deepcopy(trained(kind)), activations)
    drawn = np.random.default_rng(seed).choice((2, 4, 8), (2, len(quantised_layers(model))))
    set_bits(model, *np.full_like(drawn, bits or drawn).tolist())
    adjust(model, 1)
    if folded:
        fold_batch_norm(model.eval(), FEW)
    model.eval()
    with torch.no_grad():  # agreement about a network that says the same of all images would mean little
        assert len(model(torch.from_numpy(IMAGES)).argmax(1).unique()) > 4
    return model


def agrees(found: Agreement) -> bool:
    """All predictions; and all logits, but for the odd image where a sum lies in the middle between two levels."""
    return found.same_predictions == found.images and found.same_logits >= 0.8 * found.images


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
@pytest.mark.parametrize(("activations", "folded"), [("minmax", False), ("lsq", False), ("lsq", True)])
def test_onnx_runtime_predicts_what_pytorch_does(activations: str, folded: bool, seed: int) -> None:
    model = network(activations=activations, folded=folded, seed=seed)
    assert agrees(agreement(model, export(model, FEW), IMAGES, LABELS))


@pytest.mark.parametrize("seed", range(2))
def test_qonnx_computes_what_pytorch_does(seed: int) -> None:
    model = network(activations="lsq", folded=bool(seed), seed=seed)
    found = agreement(model, export(model, FEW, "qonnx"), IMAGES, LABELS)
    assert found.program == "qonnx" and agrees(found)


@pytest.mark.slow
def test_a_residual_network_is_exported_too() -> None:
    model = network(ShortResNet, seed=1)
    assert agrees(agreement(model, export(model, FEW), IMAGES, LABELS))


@pytest.mark.parametrize(("form", "folded"), [("onnx", False), ("onnx", True), ("qonnx", False)])
def test_depthwise_convolutions_and_relu6_are_exported(form: Format, folded: bool) -> None:
    model = network(ShortMobileNet, seed=1, folded=folded)
    made = export(model, FEW, form)
    groups = [onnx.helper.get_node_attr_value(node, "group") for node in made.graph.node if node.op_type == "Conv"]
    assert [group > 1 for group in groups].count(True) == 4 and len(groups) == 13
    # Activations of fewer than 8 bits are clipped too, but as integers.
    clips = [node.input[1] for node in made.graph.node if node.op_type == "Clip" and ".least" in node.input[1]]
    assert len([name for name in clips if not name.endswith("input_least")]) == 9
    some = 20 if form == "qonnx" else 60
    assert agrees(agreement(model, made, IMAGES[:some], LABELS[:some]))


def test_relu6_stays_inside_integer_kernels() -> None:
    """With biases inside and all layers at 8 bits the rounding of biases changes hardly any prediction."""
    model = network(ShortMobileNet, folded=True, bits=8)
    plain, fused = export(model, FEW), export(model, FEW, integer_kernels=True)
    assert (run_onnx(fused, IMAGES).argmax(1) == run_onnx(plain, IMAGES).argmax(1)).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_a_whole_mobilenetv2_is_exported_too(form: Format) -> None:
    model = network(MobileNetV2, bits=8)
    found = agreement(model, export(model, FEW, form), IMAGES, LABELS)
    assert found.agrees and found.same_logits >= 0.5 * found.images  # 52 layers in which a sum may be tipped


def test_a_wrong_file_is_found_out() -> None:
    """The comparison itself: one weight level changed, and the levels of another policy."""
    model = network(seed=3)
    made = export(model, FEW)
    assert agrees(agreement(model, made, IMAGES, LABELS))
    array = next(constant for constant in made.graph.initializer if constant.name == "classifier_3.weight")
    levels = numpy_helper.to_array(array).copy()
    levels[0] = -levels[0]
    array.CopyFrom(numpy_helper.from_array(levels, array.name))
    assert not agrees(agreement(model, made, IMAGES, LABELS))
    exact = export(model, FEW)
    set_bits(model, (8,) * 8, (8,) * 8)
    assert not agrees(agreement(model, exact, IMAGES, LABELS))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_file_holds_the_very_levels_and_steps(bits: int) -> None:
    model = network(bits=bits)
    made = export(model, FEW)
    arrays = {constant.name: numpy_helper.to_array(constant) for constant in made.graph.initializer}
    for name, layer in quantised_layers(model):
        prefix = name.replace(".", "_")
        levels, step = weight_levels(layer.weight.detach(), bits)
        assert arrays[f"{prefix}.weight"].dtype == np.int8
        assert np.array_equal(arrays[f"{prefix}.weight"], levels.numpy())
        assert np.array_equal(arrays[f"{prefix}.weight_step"], step.flatten().numpy())
        assert np.abs(arrays[f"{prefix}.weight"]).max() < 2 ** (bits - 1)
        assert arrays[f"{prefix}.input_zero"] == int(layer.input_levels().zero)
    kinds = [node.op_type for node in made.graph.node]
    assert kinds.count("Clip") == (0 if bits == 8 else 8)
    exact = export(model, FEW, "qonnx")
    quants = [node for node in exact.graph.node if node.op_type == "Quant"]
    widths = {constant.name: float(numpy_helper.to_array(constant)) for constant in exact.graph.initializer
              if constant.name.endswith("_bits")}  # fmt: skip
    assert len(quants) == 16 and set(widths.values()) == {bits}
    narrow = {node.output[0]: onnx.helper.get_node_attr_value(node, "narrow") for node in quants}
    assert all(value == ("weight" in name) for name, value in narrow.items())


def test_integer_kernels_keep_biases_inside() -> None:
    model = network(folded=True)
    plain, fused = export(model, FEW), export(model, FEW, integer_kernels=True)
    counts = [[len(n.input) for n in m.graph.node if n.op_type in ("Conv", "Gemm")] for m in (plain, fused)]
    assert counts == [[2] * 8, [3] * 8]
    assert (run_onnx(fused, IMAGES).argmax(1) == run_onnx(plain, IMAGES).argmax(1)).mean() > 0.8


class Other(nn.Module):
    """Reshaping by size, pools of every kind, a function instead of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=(1, 0), dilation=(1, 2))
        self.pools = nn.Sequential(
            nn.AvgPool2d(2, padding=1), nn.Dropout(), nn.MaxPool2d(3, 1), nn.AdaptiveAvgPool2d((7, 3))
        )
        self.linear = nn.Linear(84, 10)

    def forward(self, images: Tensor) -> Tensor:
        some = self.pools(torch.relu(self.conv(images)))
        return self.linear(some.view(some.size(0), -1))


def test_a_network_of_ones_own_is_exported() -> None:
    torch.manual_seed(1)
    model = quantise(Other())
    model(torch.from_numpy(IMAGES))
    set_bits(model, (4, 8), (8, 4))
    model.eval()
    assert agrees(agreement(model, export(model, FEW), IMAGES, LABELS))


class Function(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return torch.sin(values)


class Deciding(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values if values.sum() > 0 else -values


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Sigmoid(), r"layer '1' \(Sigmoid\) cannot be exported: the export does not know it"),
        (Function(), "the operation 'sin' cannot be exported: the export does not know it"),
        (
            nn.MaxPool2d(2, ceil_mode=True),
            r"layer '1' \(MaxPool2d\) cannot be exported: only windows without ceil_mode",
        ),
        (nn.AdaptiveAvgPool2d(3), r"layer '1' \(AdaptiveAvgPool2d\) cannot be exported: 3x3 does not divide"),
        (
            nn.Conv2d(2, 2, 3, padding="same"),
            r"layer '1' \(QuantisedConv2d\) cannot be exported: only padding with zeros",
        ),
        (nn.Linear(4, 2), r"layer '1' \(QuantisedLinear\) cannot be exported: its output has 4 dimensions"),
        (nn.Flatten(0), r"layer '1' \(Flatten\) cannot be exported: it makes the shape \(64,\)"),
        (Deciding(), r"the tracer cannot follow layer '1' \(Deciding\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_cannot_be_exported_is_named(layer: nn.Module, said: str) -> None:
    model = quantise(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), layer))
    model(torch.randn(2, 1, 4, 4))
    with pytest.raises(ValueError, match=said):
        export(model, torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize(("weights", "activations"), [(16, 8), (8, 12), (16, 16), (9, 9)])
def test_more_bits_than_a_byte_holds_are_exported_as_floats(weights: int, activations: int) -> None:
    model = quantise(nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3072, 10)))
    model(torch.from_numpy(IMAGES))
    set_bits(model, (weights, 4), (activations, 4))
    for form in FORMATS:
        file = export(model, FEW, form)
        assert agrees(agreement(model.eval(), file, IMAGES, LABELS))
    stored = {constant.name: constant.data_type for constant in export(model, FEW).graph.initializer}
    levels = [kind for name, kind in stored.items() if name.endswith(".weight")]
    assert levels == [onnx.TensorProto.INT8] * (1 + (weights <= 8))


def test_an_unknown_format_is_refused() -> None:
    model = quantise(nn.Sequential(nn.Flatten(), nn.Linear(1024, 10)))
    model(torch.from_numpy(IMAGES))
    with pytest.raises(ValueError, match="one of onnx, qonnx, not 'tflite'"):
        export(model, FEW, "tflite")


# --- names of layers ------------------------------------------------------------------------------------------------


class Named(nn.Module):
    """Layers of given names, one of a kind each."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
        for name, layer in zip(names, layers, strict=True):
            self.add_module(name, layer)

    def forward(self, values: Tensor) -> Tensor:
        for name in self.names:
            values = self.get_submodule(name)(values)
        return values


def exported(names: tuple[str, ...], form: Format) -> onnx.ModelProto:
    """Export checks the file with the images itself."""
    torch.manual_seed(0)
    model = quantise(Named(names)).train()
    model(torch.randn(20, 1, 4, 4))
    set_bits(model, (4, 4), (4, 4))
    return export(model, torch.randn(2, 1, 4, 4), form)


def names_in(model: onnx.ModelProto) -> list[str]:
    outputs = [name for node in model.graph.node for name in node.output]
    return [value.name for value in (*model.graph.input, *model.graph.initializer)] + outputs


BASES = ("conv", "norm", "act", "flat", "fc")


@cache
def words() -> list[str]:
    """All that the exporter's names are made of."""
    names = [name for form in FORMATS for name in names_in(exported(BASES, form))]
    return sorted({word for name in names for word in name.split(".")} | {"images", "logits"})


@st.composite
def exporters_own(draw: st.DrawFn) -> tuple[str, ...]:
    """Names of layers out of the words that the exporter makes its own names of."""
    word = st.sampled_from(words())
    plain = draw(st.lists(word, min_size=3, max_size=3, unique=True))
    joined = st.tuples(st.sampled_from(plain), word).map("_".join).filter(lambda name: name not in plain)
    return tuple(draw(st.permutations([*plain, *draw(st.lists(joined, min_size=2, max_size=2, unique=True))])))


@settings(max_examples=15)
@given(exporters_own(), st.sampled_from(FORMATS))
@example(("images", "logits", "output", "images_logits", "weight"), "onnx")
@example(("logits", "images", "input", "bias", "images_weight"), "qonnx")
@example(("conv", "conv_product", "fc_weight", "conv_bias", "fc"), "onnx")
@example(("fc", "fc_input", "fc_weight_rounded", "fc_product", "fc_bias"), "qonnx")
def test_no_layers_name_can_be_one_of_the_files_own(names: tuple[str, ...], form: Format) -> None:
    model = exported(names, form)
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["images", "logits"]
    found = names_in(model)
    assert len(found) == len(set(found))
    nodes = [node.name for node in model.graph.node]
    assert len(nodes) == len(set(nodes))


# --- what the export checks itself ----------------------------------------------------------------------------------


class Small(nn.Module):
    """A convolution, something in between, and a fully connected layer; more when it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, stride=2), nn.Linear(4, 3)

    def forward(self, images: Tensor, given: Tensor | None = None, **others: object) -> Tensor:
        values = self.between(self.conv(images))
        if self.training:
            values = values + values
        if given is not None:
            values = values + given
        return self.fc(values.mean((2, 3)))

    def between(self, values: Tensor) -> Tensor:
        return values.relu()


def small(kind: type[nn.Module] = Small) -> nn.Module:
    torch.manual_seed(0)
    model = quantise(kind())
    model(torch.from_numpy(IMAGES))
    return model


@pytest.mark.parametrize("form", FORMATS)
def test_a_network_is_exported_as_it_computes_in_evaluation_with_images_alone(form: Format) -> None:
    for mode in (True, False):
        model = small().train(mode)
        made = export(model, FEW, form)
        assert [module.training for module in model.modules()] == [mode] * 3
        assert agrees(agreement(model.eval(), made, IMAGES, LABELS))


CLIPPINGS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[float | None, float | None]]] = {
    "ReLU6": (nn.ReLU6(), (0, 6)),
    "ReLU6 in place": (nn.ReLU6(inplace=True), (0, 6)),
    "Hardtanh": (nn.Hardtanh(-0.5, 2), (-0.5, 2)),
    "relu6": (functional.relu6, (0, 6)),
    "relu6 in place": (lambda values: functional.relu6(input=values, inplace=True), (0, 6)),
    "hardtanh": (functional.hardtanh, (-1, 1)),
    "hardtanh by name": (lambda values: functional.hardtanh(values, max_val=3), (-1, 3)),
    "hardtanh_": (lambda values: functional.hardtanh_(values, -3.0, 0.5), (-3, 0.5)),
    "clamp": (lambda values: torch.clamp(values, 0, 2), (0, 2)),
    "clip": (lambda values: torch.clip(values, max=2), (None, 2)),
    "clamp_": (lambda values: values.clamp_(min=-0.5), (-0.5, None)),
    "method": (lambda values: values.clip(0, max=1.5), (0, 1.5)),
}


@pytest.mark.parametrize("name", CLIPPINGS)
@pytest.mark.parametrize("form", FORMATS)
def test_clipping_is_exported_however_it_is_written(name: str, form: Format) -> None:
    clip, wanted = CLIPPINGS[name]

    class Clipped(Small):
        def __init__(self) -> None:
            super().__init__()
            self.clip = clip

        def between(self, values: Tensor) -> Tensor:
            for _ in range(4):
                values = values + values  # so that either bound is passed
            return self.clip(values)

    made = export(small(Clipped), FEW, form)
    arrays = {constant.name: numpy_helper.to_array(constant) for constant in made.graph.initializer}
    (node,) = [node for node in made.graph.node if node.op_type == "Clip"]
    found = [None if end == "" else float(arrays[end]) for end in [*node.input[1:], ""][:2]]
    assert found == list(wanted)


def test_bounds_that_are_no_numbers_cannot_be_exported() -> None:
    class Moving(Small):
        def between(self, values: Tensor) -> Tensor:
            return torch.clamp(values, max=values.mean((0, 1, 2, 3)))

    with pytest.raises(ValueError, match="the operation 'clamp' cannot be exported: only bounds that are numbers can"):
        export(small(Moving), FEW)


@torch.fx.wrap
def relu(values: Tensor) -> Tensor:
    """Not the usual one."""
    return 2 * values


class OwnFunction(Small):
    def between(self, values: Tensor) -> Tensor:
        return relu(values)


class Rounded(Small):
    def between(self, values: Tensor) -> Tensor:
        return values + values.mean((2, 3), keepdim=True, dtype=torch.bfloat16)


class Shifted(Small):
    def forward(self, images: Tensor, shift: float = 0.5) -> Tensor:
        return self.fc((self.conv(images) + shift).mean((2, 3)))


class BatchMean(Small):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean(0, keepdim=True)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (OwnFunction, "the operation 'relu' cannot be exported: the export does not know it"),
        (Rounded, "the operation 'mean' cannot be exported: it makes torch.bfloat16, only torch.float32 can"),
        (Shifted, "the operation 'add' cannot be exported: it takes 0.5 where another layer's output"),
        (BatchMean, r"BatchMean gives outputs of shape \(1, 3\) for 12 images, not logits"),
    ],
)
def test_what_would_be_exported_wrongly_is_named(kind: type[nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        export(small(kind), FEW)


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1024, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.view(2, -1))


def test_what_no_file_could_be_compared_with_is_refused() -> None:
    model = quantise(FixedBatch())
    model(FEW)
    with pytest.raises(ValueError, match=r"FixedBatch took 2 images and does not take 12.* use -1 or x.size"):
        export(model, FEW)
    with pytest.raises(ValueError, match=r"layer 'conv' .* the range of its input was never set"):
        export(quantise(Small()), FEW)
    for value, said in ((0.0, "gives all images the same logits"), (torch.nan, "infinite or not numbers")):
        model = small()
        nn.init.constant_(model.fc.weight, value)
        with pytest.raises(ValueError, match=said):
            export(model, FEW)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("images", [FEW, FEW[:1], torch.zeros(2, 1, 32, 32)], ids=["two", "one", "zeros"])
def test_a_file_that_computes_otherwise_is_not_given(
    images: Tensor, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the images: bugs planted in the exporter, and what neither the tracer nor the exporter sees."""
    export(small(), images, form)
    hooked = small()
    hooked.conv.register_forward_hook(lambda layer, given, made: made.abs())
    with pytest.raises(Disagreement, match="the file computes differently from Small"):
        export(hooked, images, form)
    outside = small()
    outside.register_forward_hook(lambda layer, given, made: made.abs())
    with pytest.raises(Disagreement, match="traced operations of Small compute differently"):
        export(outside, images, form)
    monkeypatch.setitem(onnx_export._METHODS, "relu", onnx_export._Builder.same)
    with pytest.raises(Disagreement, match="the file computes differently from Small"):
        export(small(), images, form)


def test_nothing_agrees_with_what_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    made = export(model, FEW)
    nn.init.constant_(model.fc.weight, torch.nan)
    monkeypatch.setattr(
        "algo.export.onnx_check.run_onnx", lambda model, images: np.full((len(images), 3), np.nan, np.float32)
    )
    found = agreement(model.eval(), made, IMAGES, LABELS)
    assert found.same_predictions == found.same_logits == 0


def test_a_prediction_that_float_rounding_decides_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes of equal logits; then an image on which the file prefers a class that rounding does not lift."""
    model = small().eval()
    with torch.no_grad():
        for values in (model.fc.weight, model.fc.bias):
            values[1] = values[2]
    made = export(model, FEW)
    logits = run_onnx(made, IMAGES)
    logits[:, 2] += 1e-6
    monkeypatch.setattr("algo.export.onnx_check.run_onnx", lambda model, images: logits)
    found = agreement(model, made, IMAGES, LABELS)
    assert (found.same_predictions, found.ties, found.agrees) == (0, len(IMAGES), True)
    logits[0, 0] += 9
    found = agreement(model, made, IMAGES, LABELS)
    assert (found.same_predictions, found.ties, found.agrees) == (0, len(IMAGES) - 1, False)


# --- the command ------------------------------------------------------------------------------------------------------

SMALL = ["--schedule", "quick", "--width", "2", "--local-size", "60", "--threads", "1", "--seed", "3"]
BETTER = ["--activation-range", "lsq", "--fold-batch-norm", "--lr-schedule", "k-decay", "--k", "3"]


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with everything that retraining can do."""
    path = tmp_path_factory.mktemp("runs") / "better"
    main_(["tune", *SMALL, *BETTER, "--out", str(path)])
    return path


def main_(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


@pytest.fixture
def rlu(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> Done:
        code = main_([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return call


@pytest.mark.parametrize("policy", ["found", pytest.param("best-seen", marks=pytest.mark.slow), "int8"])
def test_export_writes_the_network_that_the_run_measured(run: Path, rlu, tmp_path: Path, policy: str) -> None:
    done = rlu("export", run, "--policy", policy, "-o", tmp_path / "net.onnx", "--json")
    assert done.code == 0, done.err
    assert "another machine" not in done.err
    answer = json.loads(done.out)
    summary = json.loads((run / "summary.json").read_text())
    chosen = answer["networks"][-1]
    assert [row["policy"] for row in answer["networks"]] == (["int8"] if policy == "int8" else ["int8", policy])
    assert chosen["measured"] == summary[{"int8": "baseline_int8", "best-seen": "best_seen"}.get(policy, policy)]
    assert chosen["accuracy"] == chosen["measured"]["accuracy"] == chosen["agreement"]["accuracy"]
    assert chosen["agreement"]["same_predictions"] == chosen["agreement"]["images"] == 10
    assert chosen["file_bytes"] == (tmp_path / "net.onnx").stat().st_size
    sizes = (18, 36, 72, 144, 288, 576, 2048, 160)
    counts = dict(zip(sizes, chosen["measured"]["weight_bits"], strict=True))
    assert chosen["weight_bytes"] == sum((size * bits + 7) // 8 for size, bits in counts.items())
    assert chosen["float_bytes"] == 4 * sum(counts)
    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"), full_check=True)


def test_export_shows_both_networks_side_by_side(run: Path, rlu, tmp_path: Path) -> None:
    done = rlu("export", run, "--format", "qonnx", "-o", tmp_path / "net.onnx")
    assert done.code == 0, done.err
    assert done.out.startswith("| | INT8 baseline | found | change |\n")
    for row in ("weights, packed, bytes", "accuracy, PyTorch", "accuracy, qonnx", "latency, ms", "energy, uJ"):
        assert f"\n| {row}" in done.out
    assert "| same predictions | 10 of 10 | 10 of 10 |" in done.out


def test_a_file_that_predicts_otherwise_is_a_failed_check(
    run: Path, rlu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: onnx.ModelProto, images: np.ndarray, optimised: bool = True) -> np.ndarray:
        return run_onnx(model, images) * (-1 if len(images) in on else 1)

    monkeypatch.setattr("algo.export.onnx_check.run_onnx", wrong)
    on = {10}  # the local test images
    done = rlu("export", run, "--policy", "int8", "-o", tmp_path / "net.onnx")
    assert done.code == 1 and "rlu: ONNX Runtime does not predict the same as PyTorch on some images" in done.err
    on = {12}  # those of the export's own check
    done = rlu("export", run, "--policy", "int8", "-o", tmp_path / "none.onnx")
    assert done.code == 1 and "rlu: the file computes differently from VGG8: logits differ by" in done.err
    assert not (tmp_path / "none.onnx").exists()


def test_export_refuses_what_is_no_finished_run(run: Path, rlu, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(run, copied)
    (copied / "inputs.json").unlink()  # whoever ran it gave an evaluator of their own
    (copied / "summary.json").write_text((copied / "summary.json").read_text().replace("digits", "my.npz"))
    done = rlu("export", copied, "-o", tmp_path / "net.onnx")
    assert done.code == 2 and "does not match its config.json: network or data" in done.err
    (copied / "summary.json").unlink()
    done = rlu("export", copied, "-o", tmp_path / "net.onnx")
    assert done.code == 2 and f"is not finished; resume: rlu tune --resume --out {copied}" in done.err
    done = rlu("export", tmp_path, "-o", tmp_path / "net.onnx")
    assert done.code == 2 and "holds no run" in done.err
    assert not (tmp_path / "net.onnx").exists()


def own_images(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.arange(60) % 2
    images = (random.normal(size=(60, 1, 32, 32)) * 20 + 60 + 100 * labels[:, None, None, None]).clip(0, 255)
    np.savez(path, images=images.astype(np.uint8), labels=labels)


def test_a_run_is_exported_and_resumed_from_its_own_data_alone(
    rlu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir(), elsewhere.mkdir()
    monkeypatch.chdir(project)
    data, run, net = project / "my.npz", project / "run", tmp_path / "net.onnx"
    own_images(data, seed=1)
    options = ("--schedule", "quick", "--iterations", "2", "--width", "2", "--threads", "1", "--accuracy-drop", "1")
    done = rlu("tune", "--data", "my.npz", *options, "--out", "run")
    assert done.code == 0, done.err
    finished = json.loads((run / "summary.json").read_text())
    assert finished["data"] == "my.npz (not the published CIFAR-100)"

    monkeypatch.chdir(elsewhere)  # where another file has the same name
    own_images(elsewhere / "my.npz", seed=2)
    (run / "summary.json").unlink()
    done = rlu("tune", "--resume", "--out", run)
    assert done.code == 0 and json.loads((run / "summary.json").read_text()) == finished, done.err
    assert rlu("export", run, "--policy", "int8", "-o", net).code == 0
    done = rlu("tune", "--resume", "--out", run, "--data", "my.npz")
    assert done.code == 2 and f"was begun with data = {str(data)!r}, not 'my.npz'" in done.err

    net.unlink()
    own_images(data, seed=2)
    for policy in ("int8", "best-seen", "found"):
        done = rlu("export", run, "--policy", policy, "-o", net)
        assert done.code == 2 and f"the data {data} changed after the run in {run} began" in done.err
        assert "another machine" not in done.err and not net.exists()
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "summary.json").unlink()
    before = {path.name: path.read_bytes() for path in unfinished.iterdir()}
    done = rlu("tune", "--resume", "--out", unfinished)
    assert done.code == 2 and f"the data {data} changed after the run in {unfinished} began" in done.err
    assert {path.name: path.read_bytes() for path in unfinished.iterdir()} == before

    own_images(elsewhere / "moved.npz", seed=1)
    data.unlink()
    for command in (("export", run, "-o", net), ("tune", "--resume", "--out", unfinished)):
        done = rlu(*command)
        assert done.code == 2 and f"was begun with data = {str(data)!r}, which does not exist: put it back" in done.err
    assert rlu("tune", "--resume", "--out", run).code == 0  # complete: it needs no data
    config = run / "config.json"
    config.write_text(config.read_text().replace(str(data), str(elsewhere / "moved.npz")))
    done = rlu("export", run, "--policy", "int8", "-o", net)
    assert done.code == 0 and "another machine" not in done.err, done.err


def test_a_run_that_an_earlier_version_began_is_exported_with_a_word_about_its_data(
    run: Path, rlu, tmp_path: Path
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(run, copied)
    (copied / "inputs.json").unlink()
    done = rlu("export", copied, "--policy", "int8", "-o", tmp_path / "net.onnx")
    assert done.code == 0, done.err
    assert "kept no digests: changes in the data digits cannot be detected" in done.err
    # Its checkpoint knows the images, and all settings.
    for name, value in (("noise_std", 0.1), ("seed", 2)):
        config = json.loads((run / "config.json").read_text())
        (config["task"] if name == "noise_std" else config)[name] = value
        (copied / "config.json").write_text(json.dumps(config))
        for policy in ("int8", "best-seen", "found"):
            done = rlu("export", copied, "--policy", policy, "-o", tmp_path / "no.onnx")
            assert done.code == 2 and "checkpoint.zip is not of this run" in done.err, (name, policy)
            assert not (tmp_path / "no.onnx").exists()
    done = rlu("export", run, "--policy", "int8", "-o", tmp_path / "net.onnx")
    assert "kept no digests" not in done.err


def test_an_energy_that_there_is_not_is_said() -> None:
    measured = {"weight_bits": [8], "activation_bits": [8], "voltage_v": None, "frequency_mhz": None,
                "accuracy": 1.0, "latency_ms": 2.0, "energy_uj": None, "score": 0.5}  # fmt: skip
    row = Exported("int8", measured, 1.0, 10, 40, 100, Agreement("ONNX Runtime", 10, 1.0, 10, 10, 0, 0.0, 1.0))
    text = before_after([row, replace(row, policy="found", measured=measured | {"latency_ms": 1.0})])
    assert "| energy, uJ (chip) | unavailable | unavailable |  |" in text
    assert "| latency, ms (chip) | 2.00 | 1.00 | -50% |" in text
