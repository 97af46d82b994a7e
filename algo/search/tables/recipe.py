"""What a table is built by: settings without torch, so the command line can make options of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from algo.nets.registry import is_file_network
from algo.nets.train.task import TaskConfig
from algo.nets.training_config import TrainingConfig
from algo.space.dimensions import ACTIVATION_BITS
from algo.support.settings import check_settings, setting

#: Channels of the first layer of a network with a name: small ones train in seconds.
WIDTH = 2
#: Noise on the digits: with the usual noise, nearly every policy reads them equally well.
DIGITS_NOISE_STD = 2.5

Value = TypeVar("Value")


@dataclass(frozen=True)
class Recipe:
    """What accuracy is measured on, and how.

    Attributes:
        data: name of a data set, as for `algo.nets.data.datasets.load_dataset`.
        network: as for `algo.nets.registry.network_builder`.
        width: channels of the network's first layer; default 2, or for a user's own network what its function takes.
        noise_std: standard deviation of the noise on local images; that of normalised images is 1. Default 2.5 for
            the digits, else that of `algo.nets.data.datasets.local_private_set`.
        pretrain_images: images to pre-train on, at most.
        local_images: local images to train on; default as in `algo.nets.data.datasets.local_private_set`.
        test_images: local images to test with, none of which is trained on; if there are too few, they are used
            again with other noise.
        steps: batches in the training of shared weights, rounded up to whole passes over the local images.
        calibration: local training images from which each policy's statistics and ranges are taken.
        choices: bit-widths of weights: of all layers, or a tuple for each.
        activation_bits: bit-width of activations, in every policy: of all layers, or one for each.
        data_folder: where the data set's files lie, if not in the usual place.
        training: recipe of pre-training and retraining.

    Raises:
        ValueError: naming a field that may not have its value.
    """

    # Finished cells are found by this text of the recipe: its fields, their order, and which of them it leaves out.
    data: str = TaskConfig.data
    width: int | None = setting(
        None,
        f"Channels of the network's first layer; default {WIDTH}, or what your own function takes.",
        low=1,
    )
    noise_std: float | None = setting(
        None, f"Noise on local images, 0..100; default {DIGITS_NOISE_STD:g} for digits, else 1.5."
    )
    pretrain_images: int = setting(6000, "Images to pre-train on, at most.", low=2)
    local_images: int | None = None
    test_images: int = setting(2400, "Images to test with.", low=1)
    steps: int = setting(500, "Batches to train shared weights on.", low=1)
    calibration: int = setting(256, low=2)
    choices: tuple[int, ...] | tuple[tuple[int, ...], ...] = (2, 4, 8)
    activation_bits: int | tuple[int, ...] = setting(ACTIVATION_BITS.usual, repr=False)
    data_folder: str | None = setting(TaskConfig.data_folder, repr=False)
    network: str = setting(TaskConfig.network, repr=False)
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        from algo.nets.data.datasets import NOISE_STD, check_noise  # brings NumPy

        if self.noise_std is None:
            object.__setattr__(self, "noise_std", DIGITS_NOISE_STD if self.data == "digits" else NOISE_STD)
        if self.width is None and not is_file_network(self.network):
            object.__setattr__(self, "width", WIDTH)
        check_noise(self.noise)
        check_settings(self)

    @property
    def noise(self) -> float:
        """`noise_std`, which is never None once the recipe is made."""
        assert self.noise_std is not None
        return self.noise_std

    def layer_choices(self, layers: int) -> tuple[tuple[int, ...], ...]:
        """Bit-widths of each layer's weights; ValueError if `choices` are of another number of layers."""
        each = tuple(one for one in self.choices if isinstance(one, tuple))
        if each and len(each) != layers:
            raise ValueError(f"choices are those of {len(each)} layers; the network has {layers}")
        return each or (tuple(one for one in self.choices if isinstance(one, int)),) * layers

    def layer_activation_bits(self, layers: int) -> tuple[int, ...]:
        """Bit-width of each layer's activations; ValueError if they are of another number of layers."""
        each = self.activation_bits
        if isinstance(each, int):
            return (each,) * layers
        if len(each) != layers:
            raise ValueError(f"activation_bits are those of {len(each)} layers; the network has {layers}")
        return each


def together(each: Sequence[Value]) -> Value | tuple[Value, ...]:
    """Values of each layer as a recipe has them: once if all layers have the same."""
    return each[0] if len(set(each)) == 1 else tuple(each)
