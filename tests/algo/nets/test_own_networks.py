"""Networks as their users write them: each trains, and one rule says which of its layers have bit-widths."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from algo.chips.evolver import EvolverChip
from algo.export.onnx_check import agreement
from algo.export.onnx_export import export
from algo.nets.data.datasets import Dataset, local_private_set
from algo.nets.folding import fold_batch_norm
from algo.nets.layer_shapes import layer_shapes
from algo.nets.models.mobilenetv2 import MobileNetV2
from algo.nets.models.resnet34 import ResNet34
from algo.nets.models.vgg8 import VGG8
from algo.nets.quantisation import quantise, quantised_layers, set_bits, weight_layers
from algo.nets.train.pretraining import pretrain
from algo.nets.train.retrainer import Retrainer
from algo.nets.train.sgd import suited_layout
from algo.nets.training_config import TrainingConfig
from algo.space.policy import Policy

IMAGE, CPU = (2, 6, 6), torch.device("cpu")
RECIPE = TrainingConfig(pretrain_epochs=2, int8_epochs=1, batch_size=20, threads=1)


def _data() -> Dataset:
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 160)
    images = random.normal(size=(3, *IMAGE))[labels] + 0.3 * random.normal(size=(160, *IMAGE))
    images = images.astype(np.float32)
    # 73 test images: the last of a batch of 72 is alone.
    return Dataset("patterns", images[:87], labels[:87], images[87:], labels[87:], 3)


DATA = _data()
LOCAL = local_private_set(DATA, 60, 0.2)


class Base(nn.Module):
    """A convolution, batch normalisation, and a flattening that each network below writes in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 36, 3)

    def flat(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.flat(self.norm(self.conv(x)).relu()))
        return logits


class Viewed(Base):
    def flat(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1)


class ViewedInTraining(Base):
    def flat(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1) if self.training else x.flatten(1)


class Permuted(Base):
    """Runs in channels last only."""

    def flat(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).view(x.size(0), -1)


class Strided(Base):
    """Runs in both layouts, and computes something else in either."""

    def flat(self, x: Tensor) -> Tensor:
        return x.as_strided((x.size(0), 4 * 36), (x.stride(0), 1))


class Checked(Base):
    def flat(self, x: Tensor) -> Tensor:
        assert x.is_contiguous()
        return x.flatten(1)


class Deep(Base):
    """A convolution over three dimensions, which have no channels last of four."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Conv3d(1, 1, 1)

    def flat(self, x: Tensor) -> Tensor:
        return self.deep(x.unsqueeze(1)).flatten(1)


USUAL, LAST = torch.contiguous_format, torch.channels_last
LAYOUTS = [
    (Base, LAST), (Viewed, USUAL), (ViewedInTraining, USUAL), (Permuted, LAST), (Strided, USUAL), (Checked, USUAL),
    (Deep, USUAL),
]  # fmt: skip


@pytest.mark.parametrize(("make", "layout"), LAYOUTS)
def test_a_network_trains_in_the_layout_that_it_can_be_trained_in(
    make: type[nn.Module], layout: torch.memory_format
) -> None:
    trained = pretrain(DATA, RECIPE, make)
    assert trained.layout == layout and trained.accuracy > 0.8
    retrainer = Retrainer(trained, LOCAL, RECIPE)
    before = retrainer.baseline(), retrainer.retrained_baseline()
    assert min(before) > 0.5
    assert retrainer.accuracy(Policy((4, 8), (8, 8), 0), 0) > 0.5
    network, accuracy = retrainer.network(Policy((4, 8), (8, 8), 0))
    images, labels = retrainer.test_images()
    # In the layout that a user's images come in, and alone.
    alone = torch.cat([network(image[None]) for image in torch.from_numpy(images)])
    assert float((alone.argmax(1).numpy() == labels).mean()) == pytest.approx(accuracy, abs=0.11)
    assert len(layer_shapes(make() if layout == USUAL else network, IMAGE)) == retrainer.layers == 2


def test_a_viewed_network_is_folded_and_exported() -> None:
    trained = pretrain(DATA, RECIPE, Viewed)
    folded = Retrainer(trained, LOCAL, replace(RECIPE, fold_batch_norm=True))
    assert folded.baseline() == pytest.approx(Retrainer(trained, LOCAL, RECIPE).baseline(), abs=0.11)
    network, _ = Retrainer(trained, LOCAL, RECIPE).network(Policy((4, 8), (8, 8), 0))
    few = torch.from_numpy(LOCAL.test_images[:2])
    assert fold_batch_norm(network, few) == [("conv", "norm")]
    found = agreement(network, export(network, few), LOCAL.test_images, LOCAL.test_labels)
    assert found.same_predictions == found.images


def test_a_flattening_written_either_way_is_the_same_network() -> None:
    """Nothing but the order of sums comes from the layout."""
    some, other = (pretrain(DATA, RECIPE, make) for make in (Base, Viewed))
    for name, value in some.state.items():
        assert torch.allclose(value.float(), other.state[name].float(), atol=0.05), name


def test_choosing_a_layout_leaves_the_network_and_random_numbers_as_they_are() -> None:
    for make in (Base, Viewed):
        model = make().eval()
        model.fc.train()
        before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        suited_layout(model, IMAGE, CPU)
        assert torch.equal(torch.get_rng_state(), state) and model.fc.training and not model.conv.training
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(value.grad is None for value in model.parameters())


@pytest.mark.parametrize(
    "make", [lambda: VGG8(10, 1, 8), lambda: VGG8(100, 3, 4), lambda: ResNet34(10, 3, 4), lambda: MobileNetV2(10, 3, 4)]
)
def test_the_networks_with_a_name_stay_in_channels_last(make) -> None:  # type: ignore[no-untyped-def]
    model = make()
    channels = next(model.parameters()).shape[1]
    assert suited_layout(model, (channels, 32, 32), CPU) == LAST


def test_a_network_that_runs_in_neither_layout_says_why_itself() -> None:
    class Small(Base):
        def flat(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        pretrain(DATA, RECIPE, Small)


# --- what is a layer ---------------------------------------------------------------------------------------


class Named(nn.Conv2d):
    """A subclass that computes what its base computes."""

    unit = "px"

    def side(self) -> int:
        return int(self.kernel_size[0])


class Derived(nn.Module):
    """Every way to have weights that is not a plain layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.a = parametrizations.weight_norm(nn.Conv2d(2, 4, 3, padding=1))
        self.b, self.norm = Named(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.c = parametrizations.spectral_norm(nn.Linear(4, 4))
        self.d = prune.l1_unstructured(nn.Linear(4, 3), "weight", 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.b(self.a(x).relu())).relu()
        logits: Tensor = self.d(self.c(x.mean((2, 3))).relu())
        return logits


def test_derived_layers_are_counted_quantised_costed_and_exported_alike() -> None:
    names = ["a", "b", "c", "d"]
    model = Derived()
    assert [name for name, _ in weight_layers(model)] == names
    shapes = layer_shapes(model, IMAGE)
    assert [shape.name for shape in shapes] == names
    retrainer = Retrainer(pretrain(DATA, RECIPE, Derived), LOCAL, RECIPE)
    policy = Policy((4, 2, 8, 8), (8, 8, 4, 8), 0)
    assert retrainer.layers == 4 and EvolverChip(shapes).measure(policy).latency_ms > 0
    before = retrainer.network(Policy((8,) * 4, (8,) * 4, 0))[0]
    retrainer.accuracy(policy, 0)
    network, _ = retrainer.network(policy, 1)
    assert [name for name, _ in quantised_layers(network)] == [name for name, _ in weight_layers(network)] == names
    assert layer_shapes(network, IMAGE) == shapes
    # What the weights are computed from learns, and each bit-width counts.
    original = "a.parametrizations.weight.original1"
    assert not torch.equal(network.state_dict()[original], before.state_dict()[original])
    images = torch.from_numpy(LOCAL.test_images)
    wanted = network(images)
    for index in range(4):
        weights = list(policy.weight_bits)
        weights[index] = 3
        set_bits(network, weights, policy.activation_bits)
        assert not torch.equal(network(images), wanted)
    set_bits(network, policy.weight_bits, policy.activation_bits)
    found = agreement(network, export(network, images[:2]), LOCAL.test_images, LOCAL.test_labels)
    assert found.same_predictions == found.images


def test_a_subclass_keeps_what_it_has_when_it_is_quantised() -> None:
    model = quantise(Derived())
    assert isinstance(model.b, Named) and model.b.side() == 3 and model.b.unit == "px"


def test_computed_weights_are_folded_once_they_are_the_layers_own() -> None:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(2, 2, 3)), nn.BatchNorm2d(2), nn.ReLU())
        pruned = nn.Sequential(prune.random_unstructured(nn.Conv2d(2, 2, 3), "weight", 0.3), nn.BatchNorm2d(2))
    images = torch.rand(4, *IMAGE)
    for some, free in (
        (model, lambda: parametrize.remove_parametrizations(model[0], "weight")),
        (quantise(copy.deepcopy(model)), None),
        (pruned, lambda: prune.remove(pruned[0], "weight")),
    ):
        some.train()(images)
        some.eval()
        wanted, before = some(images), copy.deepcopy(some.state_dict())
        with pytest.raises(ValueError, match=r"with weights of its own \(computed ones become so with remove_param"):
            fold_batch_norm(some, images)
        assert all(torch.equal(value, before[name]) for name, value in some.state_dict().items())
        if free is None:
            parametrize.remove_parametrizations(some[0], "weight")
        else:
            free()
        assert torch.equal(some(images), wanted)
        assert fold_batch_norm(some, images) == [("0", "1")]
        assert torch.allclose(some(images), wanted, atol=1e-5)


class Standardised(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(input, weight, self.bias)


class Inner(nn.Linear):
    def __call__(self, *given: Tensor) -> Tensor:
        result: Tensor = super().__call__(*given)
        return 2 * result


class Circular(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input.flip(2), weight, bias)


def patched() -> nn.Conv2d:
    layer = nn.Conv2d(2, 2, 3)
    plain = layer.forward
    layer.forward = lambda x: 2 * plain(x)  # type: ignore[method-assign]
    return layer


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Standardised(1, 2, 3), r"layer '1\.odd' \(Standardised\) cannot be quantised: its forward function is not"),
        (Inner(1, 2), r"layer '1\.odd' \(Inner\) cannot be quantised: its __call__ function is not that of nn.Linear"),
        (Circular(1, 2, 3), r"\(Circular\) cannot be quantised: its _conv_forward function is not that of nn.Conv2d"),
        (patched(), r"layer '1\.odd' \(Conv2d\) cannot be quantised: its forward function is not that of nn.Conv2d"),
        (nn.MultiheadAttention(4, 2), r"layer '1\.odd\.out_proj' .*nn.MultiheadAttention takes its weights without"),
        (nn.LazyConv2d(2, 3), r"layer '1\.odd' \(LazyConv2d\) cannot be quantised: its size is not known yet"),
    ],
)
def test_a_layer_that_cannot_be_quantised_is_named_by_all_before_anything_changes(
    layer: nn.Module, message: str
) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 2, 1), nn.ModuleDict({"odd": layer}))

    model = make()
    for refuse in (
        lambda: layer_shapes(model, IMAGE),
        lambda: quantise(model),
        lambda: pretrain(DATA, RECIPE, make),
    ):
        with pytest.raises(ValueError, match=message):
            refuse()
    assert type(model[0]) is nn.Conv2d


def test_a_policy_for_another_count_of_layers_gets_their_names() -> None:
    chip = EvolverChip(layer_shapes(Derived(), IMAGE))
    with pytest.raises(ValueError, match="the chip runs 4 layers, not 2 weight bits: its layers are a, b, c, d"):
        chip.measure(Policy((8, 8), (8, 8), 0))
