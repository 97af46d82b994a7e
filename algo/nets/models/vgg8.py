"""VGG8, the network of the published search."""

from __future__ import annotations

import torch
import torch.fx
from torch import Tensor, nn

from algo.nets.models._common import NORM_MOMENTUM, check_sizes

#: Channels of the first convolution in the published VGG8.
PUBLISHED_WIDTH = 128


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
        check_sizes("VGG8", classes, channels, width, image_size)
        self.image_shape = (channels, *image_size)
        layers: list[nn.Module] = []
        inputs = channels
        for stage in range(3):
            outputs = width << stage
            for last in (False, True):
                # No bias: batch normalisation subtracts the mean anyway.
                layers += [
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM),
                ]
                if last:  # the maximum commutes with ReLU: pooling first computes the same with less work
                    layers.append(nn.MaxPool2d(2))
                layers.append(nn.ReLU(inplace=True))
                inputs = outputs
        hidden = 8 * width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * (image_size[0] // 8) * (image_size[1] // 8), hidden, bias=False),
            nn.BatchNorm1d(hidden, momentum=NORM_MOMENTUM),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, channels, height, width); raises ValueError for other shapes."""
        _check_images(images, *self.image_shape)
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


NETWORK = VGG8
