"""Networks to tune, at any width: VGG8 and ResNet34 as published, MobileNetV2; and the layer shapes of any network.

`algo.nets.registry` opens them by name, and a user's own from a file.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.fx
from torch import Tensor, nn

from algo.nets.quantisation import weight_layers
from algo.nets.tracing import evaluating
from algo.space.layers import Geometry, LayerShape

PUBLISHED_WIDTH = 128  # channels of the first convolution in the published VGG8

# Share of the newest batch in the running statistics. Retraining takes few batches between changes of
# bit-widths; with the usual 0.1, tests would use statistics of earlier bit-widths.
_NORM_MOMENTUM = 0.3


def _check_sizes(kind: str, classes: int, channels: int, width: int, image_size: tuple[int, int]) -> None:
    for name, value, minimum in (("classes", classes, 2), ("channels", channels, 1), ("width", width, 1)):
        if value < minimum:
            raise ValueError(f"{name} must be an integer of at least {minimum}, not {value!r}")
    if min(image_size) < 8:
        raise ValueError(
            f"{kind} takes images of at least 8x8 pixels, not {image_size[0]}x{image_size[1]}: scale them up; "
            "the shape of images is (N, H, W) or (N, C, H, W), channels before height and width"
        )


@torch.fx.wrap  # the tracer, which knows no shapes, does not look inside
def _check_images(images: Tensor, *shape: int) -> None:
    if images.dim() != 4 or tuple(images.shape[1:]) != shape:
        wanted = ", ".join(map(str, ("N", *shape)))
        raise ValueError(
            f"this VGG8 takes images of shape ({wanted}), not {tuple(images.shape)}: "
            "scale them, or make a VGG8 of another image_size"
        )


class VGG8(nn.Module):
    """Six 3x3 convolutions and two fully connected layers, for images of one size, 32x32 as published or another.

    Channels are ``width, width, 2·width, 2·width, 4·width, 4·width``, then ``8·width`` hidden units: a width
    of 128 gives the usual 128-128-256-256-512-512-1024 network, whose make-up we take from the literature on
    small networks since the published text (Chen 2023, chapter 2) gives only its eight layers. Batch
    normalisation and ReLU follow every layer but the last, 2x2 max-pooling every second convolution.

    Args:
        classes: number of classes, at least 2.
        channels: channels of an image, at least 1.
        width: channels of the first convolution, at least 1.
        image_size: height and width of an image in pixels, each at least 8: pooling halves them three times.

    Input: float32 (N, channels, height, width). Output: float32 logits (N, classes).

    Raises:
        ValueError: if an argument is below its minimum.
    """

    def __init__(self, classes: int, channels: int = 1, width: int = 8, image_size: tuple[int, int] = (32, 32)) -> None:
        super().__init__()
        _check_sizes("VGG8", classes, channels, width, image_size)
        self.image_shape = (channels, *image_size)
        layers: list[nn.Module] = []
        inputs = channels
        for stage in range(3):
            outputs = width << stage
            for last in (False, True):
                # No bias: batch normalisation subtracts the mean anyway.
                layers += [
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs, momentum=_NORM_MOMENTUM),
                ]
                if last:  # the maximum commutes with ReLU: pooling first computes the same with less work
                    layers.append(nn.MaxPool2d(2))
                layers.append(nn.ReLU(inplace=True))
                inputs = outputs
        hidden = 8 * width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * (image_size[0] // 8) * (image_size[1] // 8), hidden, bias=False),
            nn.BatchNorm1d(hidden, momentum=_NORM_MOMENTUM),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, height, width); raises ValueError for other shapes."""
        _check_images(images, *self.image_shape)
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to the block's input, after a 1x1 convolution if the shapes differ.

    Args:
        inputs: input channels.
        outputs: output channels.
        stride: of the first convolution: 2 halves the image's sides.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs, momentum=_NORM_MOMENTUM)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, momentum=_NORM_MOMENTUM)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs, momentum=_NORM_MOMENTUM))

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        inside = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(images)))))
        result: Tensor = self.relu(inside + self.shortcut(images))
        return result


class ResNet34(nn.Module):
    """The 34-layer residual network (He et al., 2016) in its usual form for 32x32 images.

    A 3x3 convolution, then 3, 4, 6 and 3 residual blocks of ``width``, 2, 4 and 8 times ``width`` channels, each
    stage but the first halving the image, then the mean over the image and one fully connected layer. A
    width of 64 is the usual size.

    Args:
        classes: number of classes, at least 2.
        channels: channels of an image, at least 1.
        width: channels of the first stage, at least 1.
        image_size: height and width of an image in pixels, each at least 8; the network is the same for all.

    Input: float32 (N, channels, H, W). Output: float32 logits (N, classes).

    Raises:
        ValueError: if an argument is below its minimum.
    """

    BLOCKS = (3, 4, 6, 3)

    def __init__(
        self, classes: int, channels: int = 1, width: int = 64, image_size: tuple[int, int] = (32, 32)
    ) -> None:
        super().__init__()
        _check_sizes("ResNet34", classes, channels, width, image_size)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, momentum=_NORM_MOMENTUM),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential()
        inputs = width
        for stage, blocks in enumerate(self.BLOCKS):
            for number in range(blocks):
                stride = 2 if stage and not number else 1
                self.blocks.append(ResidualBlock(inputs, width << stage, stride))
                inputs = width << stage
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, H, W)."""
        logits: Tensor = self.classifier(self.blocks(self.stem(images)).mean((2, 3)))
        return logits


def _normalised(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, clipped: bool = True
) -> list[nn.Module]:
    """A convolution that keeps the image's size at stride 1, batch normalisation, and ReLU6 if ``clipped``."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, momentum=_NORM_MOMENTUM),
    ]
    return [*layers, nn.ReLU6(inplace=True)] if clipped else layers


class InvertedResidual(nn.Module):
    """MobileNetV2's block: a 1x1 convolution to more channels, a 3x3 one within each channel, a 1x1 one to fewer.

    ReLU6 follows the first two. The input is added to the result where their shapes are the same.

    Args:
        inputs: input channels.
        outputs: output channels.
        stride: of the 3x3 convolution: 2 halves the image's sides.
        expansion: channels between, as a multiple of ``inputs``; with 1 the first convolution is left out.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        between = inputs * expansion
        self.layers = nn.Sequential(
            *(_normalised(inputs, between) if expansion != 1 else []),
            *_normalised(between, between, kernel=3, stride=stride, groups=between),
            *_normalised(between, outputs, clipped=False),
        )
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        made: Tensor = self.layers(images)
        return images + made if self.adds_input else made


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al., CVPR 2018, table 2) in its usual form for 32x32 images.

    A 3x3 convolution, 17 inverted residual blocks, a 1x1 convolution to 1,280 channels, then the mean over the image
    and one fully connected layer. For 224x224 images the first convolution and the first block of 24 channels halve
    the image; here they keep its size, so it is halved three times and not five.

    The width multiplier of the paper is ``width`` / 32. It changes all channels; only the 1,280 stay for
    multipliers below 1, as in the paper. Channels are rounded to whole numbers; the authors' code rounds them to
    multiples of 8.

    Args:
        classes: number of classes, at least 2.
        channels: channels of an image, at least 1.
        width: channels of the first convolution, at least 1.
        image_size: height and width of an image in pixels, each at least 8; the network is the same for all.

    Input: float32 (N, channels, H, W). Output: float32 logits (N, classes).

    Raises:
        ValueError: if an argument is below its minimum.
    """

    #: Expansion, channels, blocks, and stride of the first block, stage by stage.
    STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(
        self, classes: int, channels: int = 1, width: int = 32, image_size: tuple[int, int] = (32, 32)
    ) -> None:
        super().__init__()
        _check_sizes("MobileNetV2", classes, channels, width, image_size)
        self.stem = nn.Sequential(*_normalised(channels, width, kernel=3))
        self.blocks = nn.Sequential()
        inputs = width
        for expansion, full, blocks, stride in self.STAGES:
            outputs = max(1, round(full * width / 32))
            for number in range(blocks):
                self.blocks.append(InvertedResidual(inputs, outputs, 1 if number else stride, expansion))
                inputs = outputs
        last = max(1280, 40 * width)
        self.head = nn.Sequential(*_normalised(inputs, last))
        self.classifier = nn.Linear(last, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, height, width)."""
        logits: Tensor = self.classifier(self.head(self.blocks(self.stem(images))).mean((2, 3)))
        return logits


def _geometry(module: nn.Conv2d | nn.Linear, given: Tensor, made: Tensor) -> Geometry | None:
    """Loops of a layer for one image; ``None`` for padding that only PyTorch knows by name."""
    if isinstance(module, nn.Linear):
        rows = (given.numel() // module.in_features, 1)
        return Geometry(module.in_features, module.out_features, rows, rows, linear=True)
    if isinstance(module.padding, str):
        return None
    return Geometry(
        module.in_channels,
        module.out_channels,
        input_size=_pair(given.shape[-2:]),
        output_size=_pair(made.shape[-2:]),
        kernel=_pair(module.kernel_size),
        stride=_pair(module.stride),
        padding=_pair(module.padding),
        dilation=_pair(module.dilation),
        groups=module.groups,
    )


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    height, width = sizes
    return height, width


def layer_shapes(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[LayerShape, ...]:
    """Work and storage of every layer that has bit-widths (`algo.nets.quantisation.weight_layers`), for one image.

    They are measured by running one image of zeros through the model, so any forward function works. Layers are in
    order of registration, as in a policy.

    Args:
        model: any module; every layer's mode (training or not) is put back.
        input_shape: shape of one image without the batch dimension, such as (3, 32, 32).

    Raises:
        ValueError: if the model has no such layer, one that cannot be quantised, or one that this forward pass never
            reached; the layer is named.
    """
    layers = weight_layers(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Conv2d or Linear layer whose bit-width could be tuned")
    found: dict[str, LayerShape] = {}

    def record(name: str, module: nn.Conv2d | nn.Linear, given: Tensor, made: Tensor) -> None:
        weights = module.weight.numel()
        # Every output position of a convolution, and every row a Linear is applied to, uses each weight once.
        macs = made.numel() // module.weight.shape[0] * weights
        called = name or type(module).__name__  # of a model that is a single layer
        layer = LayerShape(called, macs, weights, given.numel(), made.numel(), _geometry(module, given, made))
        found[name] = found[name].and_again(layer) if name in found else layer

    def hook(name: str, module: nn.Conv2d | nn.Linear) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_hook(
            lambda _, given, named, made: record(name, module, given[0] if given else named["input"], made),
            with_kwargs=True,
        )

    handles = [hook(name, module) for name, module in layers]
    try:
        with evaluating(model):
            model(torch.zeros((1, *input_shape), device=layers[0][1].weight.device))
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name, _ in layers if name not in found]
    if missing:
        raise ValueError(f"a forward pass of {type(model).__name__} never reached layer {missing[0]!r}")
    return tuple(found[name] for name, _ in layers)
