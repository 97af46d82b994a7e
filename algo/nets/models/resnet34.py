"""ResNet34 in its form for small images."""

from __future__ import annotations

from torch import Tensor, nn

from algo.nets.models._common import NORM_MOMENTUM, check_sizes

#: Channels of the first convolution in the usual size.
PUBLISHED_WIDTH = 64


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
        self.norm1 = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM))

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
        check_sizes("ResNet34", classes, channels, width, image_size)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, momentum=NORM_MOMENTUM),
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


NETWORK = ResNet34
