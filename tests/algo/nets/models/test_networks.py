from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from algo.chips.evolver import EvolverChip
from algo.nets.layer_shapes import layer_shapes
from algo.nets.models.mobilenetv2 import MobileNetV2
from algo.nets.models.resnet34 import ResNet34
from algo.nets.models.vgg8 import PUBLISHED_WIDTH, VGG8
from algo.published.evolver import PUBLISHED_VGG8


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(input=self.norm(images.flatten(1)))


def test_layers_are_called_by_name_too_and_every_mode_is_put_back() -> None:
    model = Named().train()
    model.norm.eval()
    (layer,) = layer_shapes(model, (1, 2, 3))
    assert (layer.name, layer.macs) == ("fc", 12)
    assert model.training and model.fc.training and not model.norm.training


def test_full_width_is_the_network_the_chip_model_assumes() -> None:
    measured = layer_shapes(VGG8(classes=100, channels=3, width=PUBLISHED_WIDTH), (3, 32, 32))
    assert [(s.macs, s.weights, s.input_values, s.output_values) for s in measured] == [
        (s.macs, s.weights, s.input_values, s.output_values) for s in PUBLISHED_VGG8
    ]


@pytest.mark.parametrize(("classes", "channels", "width"), [(10, 1, 8), (100, 3, 4), (2, 2, 1)])
def test_any_width_gives_eight_layers_and_one_logit_a_class(classes: int, channels: int, width: int) -> None:
    model = VGG8(classes, channels, width)
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, classes)
    outputs = [m.weight.shape[0] for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert outputs == [width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, classes]


@pytest.mark.parametrize(("name", "minimum"), [("classes", 2), ("channels", 1), ("width", 1)])
def test_arguments_below_their_minimum_are_named(name: str, minimum: int) -> None:
    arguments = {"classes": 10, "channels": 1, "width": 8, name: minimum - 1}
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least {minimum}, not {minimum - 1}"):
        VGG8(**arguments)


@pytest.mark.parametrize("size", [(8, 8), (15, 40), (28, 28), (64, 32)])
def test_images_of_any_size_from_8x8_on(size: tuple[int, int]) -> None:
    model = VGG8(3, 2, 2, size)
    assert model(torch.zeros(2, 2, *size)).shape == (2, 3)
    assert layer_shapes(model, (2, *size))[6].input_values == 8 * (size[0] // 8) * (size[1] // 8)


def test_the_published_size_gives_the_network_that_it_always_gave() -> None:
    torch.manual_seed(1)
    state = VGG8(10).state_dict()
    torch.manual_seed(1)
    sized = VGG8(10, 1, 8, (32, 32)).state_dict()
    assert state.keys() == sized.keys() and all(torch.equal(state[name], sized[name]) for name in state)
    assert state["classifier.0.weight"].shape == (64, 512)


@pytest.mark.parametrize("size", [(7, 8), (32, 3), (28, 1)])
def test_images_too_small_to_be_pooled_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"at least 8x8 pixels, not {size[0]}x{size[1]}: .*N, H, W, C"):
        VGG8(10, 28, 8, size)


def test_images_of_another_shape_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"\(N, 1, 32, 32\), not \(2, 1, 28, 28\)"):
        VGG8(10)(torch.zeros(2, 1, 28, 28))


# --- MobileNetV2 -------------------------------------------------------------------------------------------


def test_resnet34_takes_any_size_and_halves_it_three_times() -> None:
    model = ResNet34(10, 1, width=2).eval()
    assert model(torch.zeros(3, 1, 16, 16)).shape == (3, 10)
    assert model.blocks(model.stem(torch.zeros(1, 1, 16, 16))).shape == (1, 16, 2, 2)
    with pytest.raises(ValueError, match="width must be an integer of at least 1, not 0"):
        ResNet34(10, 1, 0)


def expected_mobilenetv2(width: int, channels: int, classes: int, side: int) -> list[tuple[int, int, int]]:
    """Multiply-accumulates, weights and groups of every layer, from table 2 of the paper with the strides for 32x32."""
    rows = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    layers = [(side**2 * 9 * channels * width, 9 * channels * width, 1)]
    given = width
    for expansion, full, repeats, first_stride in rows:
        made = full * width // 32
        for number in range(repeats):
            middle, stride = expansion * given, 1 if number else first_stride
            if expansion > 1:
                layers.append((side**2 * given * middle, given * middle, 1))
            side //= stride
            layers.append((side**2 * 9 * middle, 9 * middle, middle))
            layers.append((side**2 * middle * made, middle * made, 1))
            given = made
    return [*layers, (side**2 * given * 1280, given * 1280, 1), (1280 * classes, 1280 * classes, 1)]


@pytest.mark.parametrize(("width", "channels", "classes", "side"), [(32, 3, 10, 32), (8, 1, 3, 16), (16, 3, 100, 64)])
def test_mobilenetv2_is_the_paper_s_with_the_image_halved_three_times(
    width: int, channels: int, classes: int, side: int
) -> None:
    found = layer_shapes(MobileNetV2(classes, channels, width), (channels, side, side))
    assert [
        (layer.macs, layer.weights, layer.geometry.groups if layer.geometry else 0) for layer in found
    ] == expected_mobilenetv2(width, channels, classes, side)


def test_mobilenetv2_of_the_usual_size_has_the_usual_number_of_parameters() -> None:
    """3,504,872 with 1,000 classes, as in torchvision; the strides change none."""
    assert sum(value.numel() for value in MobileNetV2(1000, 3).parameters()) == 3_504_872


@pytest.mark.parametrize("width", [1, 3, 8, 48])
def test_mobilenetv2_of_any_width_adds_its_input_where_shapes_allow(width: int) -> None:
    model = MobileNetV2(4, 2, width).eval()
    assert model(torch.zeros(2, 2, 8, 8)).shape == (2, 4)
    assert model.classifier.in_features == max(1280, 40 * width)
    assert sum(block.adds_input for block in model.blocks) >= 10
    block = model.blocks[2]
    images = torch.randn(2, model.blocks[1].layers[-2].out_channels, 4, 4)
    assert torch.equal(block(images), images + block.layers(images))


@pytest.mark.parametrize("kind", [VGG8, ResNet34, MobileNetV2])
def test_all_networks_refuse_the_same_sizes(kind: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__} takes images of at least 8x8 pixels, not 3x32"):
        kind(10, 1, 8, (3, 32))
    with pytest.raises(ValueError, match="classes must be an integer of at least 2, not 1"):
        kind(1)


class Odd(nn.Module):
    """A branch, a stride, groups, a layer used twice and one over a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
        self.twice = nn.Conv2d(6, 6, 1)
        self.rows = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        some = self.grouped(images)
        return self.rows(self.twice(self.twice(some)) + some)


def test_shapes_of_any_network() -> None:
    model = Odd().train()
    grouped, twice, rows = layer_shapes(model, (4, 16, 16))
    assert (grouped.name, grouped.macs, grouped.weights) == ("grouped", 8 * 8 * 6 * 2 * 9, 6 * 2 * 9)
    assert (grouped.input_values, grouped.output_values) == (4 * 256, 6 * 64)
    assert (twice.macs, twice.weights) == (2 * 64 * 36, 36)
    assert (twice.input_values, twice.output_values) == (2 * 6 * 64, 2 * 6 * 64)
    assert (rows.macs, rows.weights, rows.output_values) == (6 * 8 * 8 * 3, 24, 6 * 8 * 3)
    assert model.training
    assert not model.rows._forward_hooks


def test_a_network_that_is_one_layer_is_called_by_its_kind() -> None:
    (single,) = layer_shapes(nn.Linear(3, 2), (3,))
    assert (single.name, single.macs) == ("Linear", 6) and EvolverChip([single]).layer_names == ("Linear",)


def test_a_network_without_tunable_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="Flatten has no Conv2d or Linear layer"):
        layer_shapes(nn.Flatten(), (1, 2, 2))


def test_a_layer_never_reached_is_named() -> None:
    model = Odd()
    model.spare = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="never reached layer 'spare'"):
        layer_shapes(model, (4, 16, 16))
