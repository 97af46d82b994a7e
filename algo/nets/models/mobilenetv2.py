"""MobileNetV2 in its form for small images."""

from __future__ import annotations

from torch import Tensor, nn

from algo.nets.models._common import NORM_MOMENTUM, check_sizes

#: Channels of the first convolution in the usual size: width multiplier 1.
PUBLISHED_WIDTH = 32


def normalised(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, clipped: bool = True
) -> list[nn.Module]:
    """A convolution that keeps the image's size at stride 1, batch normalisation, and ReLU6 if ``clipped``."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM),
    ]
    return [*layers, nn.ReLU6(inplace=True)] if clipped else layers


class InvertedResidual(nn.Module):
    """MobileNetV2's block: a 1x1 convolution to more channels, one within each channel, a 1x1 one to fewer.

    ReLU6 follows the first two. The input is added to the result where their shapes are the same.

    Args:
        inputs: input channels.
        outputs: output channels.
        stride: of the convolution within channels: 2 halves the image's sides.
        expansion: channels between, as a multiple of ``inputs``; with 1 the first convolution is left out.
        kernel: side of the convolution within channels, odd; MobileNetV2 has 3 everywhere.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int = 3) -> None:
        super().__init__()
        between = inputs * expansion
        self.layers = nn.Sequential(
            *(normalised(inputs, between) if expansion != 1 else []),
            *normalised(between, between, kernel, stride, groups=between),
            *normalised(between, outputs, clipped=False),
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
        check_sizes("MobileNetV2", classes, channels, width, image_size)
        self.stem = nn.Sequential(*normalised(channels, width, kernel=3))
        self.blocks = nn.Sequential()
        inputs = width
        for expansion, full, blocks, stride in self.STAGES:
            outputs = max(1, round(full * width / 32))
            for number in range(blocks):
                self.blocks.append(InvertedResidual(inputs, outputs, 1 if number else stride, expansion))
                inputs = outputs
        last = max(1280, 40 * width)
        self.head = nn.Sequential(*normalised(inputs, last))
        self.classifier = nn.Linear(last, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, height, width)."""
        logits: Tensor = self.classifier(self.head(self.blocks(self.stem(images))).mean((2, 3)))
        return logits


NETWORK = MobileNetV2
