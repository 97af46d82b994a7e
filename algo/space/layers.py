"""A layer of a network as a chip sees it: its work, its storage and its loops."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Geometry:
    """Loops of a convolution or fully connected layer, for chips that need more than counts.

    A fully connected layer is a 1x1 convolution over as many rows as it is applied to.

    Attributes:
        in_channels, out_channels: channels, or features.
        input_size, output_size: height and width.
        kernel, stride, padding, dilation: height and width; padding on either side.
        groups: groups of channels that do not mix.
        linear: whether it is a fully connected layer.
        uses: how often an inference runs the layer.
    """

    in_channels: int
    out_channels: int
    input_size: tuple[int, int] = (1, 1)
    output_size: tuple[int, int] = (1, 1)
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    linear: bool = False
    uses: int = 1


@dataclass(frozen=True)
class LayerShape:
    """Work and storage of one layer for one image, all counted in values, not bytes.

    Attributes:
        name: for messages.
        macs: multiply-accumulate operations.
        weights: stored weights, biases left out.
        input_values: activations read.
        output_values: activations written.
        geometry: its loops; ``None`` if they are not those of one convolution or fully connected layer.
    """

    name: str
    macs: int
    weights: int
    input_values: int
    output_values: int
    geometry: Geometry | None = None

    def and_again(self, more: LayerShape) -> LayerShape:
        """The layer used once more, as ``more``, in one inference: its work adds up, its weights are stored once."""
        loops = None  # used on another shape, it is not one loop nest
        if self.geometry and more.geometry and replace(self.geometry, uses=more.geometry.uses) == more.geometry:
            loops = replace(self.geometry, uses=self.geometry.uses + more.geometry.uses)
        return LayerShape(
            self.name, self.macs + more.macs, self.weights, self.input_values + more.input_values,
            self.output_values + more.output_values, loops,
        )  # fmt: skip
