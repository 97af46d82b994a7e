"""A task: data, local private set, network and recipe, put together in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from algo.nets.data.names import DATASETS, shown_name
from algo.nets.registry import METAVAR, is_file_network, network_builder, split_file_network
from algo.nets.training_config import RETRAINING_MODES, RetrainingMode, TrainingConfig
from algo.space.layers import LayerShape
from algo.support.settings import check_settings, setting

if TYPE_CHECKING:
    from torch import nn

    from algo.nets.data.datasets import Dataset, LocalData
    from algo.nets.train.pretraining import Pretrained
    from algo.nets.train.retrainer import Retrainer


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What is trained, on what, and how. Each field says what it means.

    Raises:
        ValueError: for a value that a setting may not have.
    """

    data: str = setting(
        "digits",
        f"{', '.join(DATASETS)}; an NPZ file; or a folder with one subfolder of images per class.",
    )
    data_folder: str | None = setting(
        None, "Folder with the downloaded files of a built-in data set; nothing is downloaded then."
    )
    local_size: int | None = setting(None, "Images of the local private set.")
    noise_std: float | None = setting(None, "Standard deviation of the noise on local images, 0..100; default 1.5.")
    network: str = setting("vgg8", "The network that is trained.", metavar=METAVAR)
    width: int | None = setting(
        None, "Channels of the network's first layer, or what a function of your own takes; default 8.", low=1, high=512
    )
    weights: RetrainingMode | None = setting(
        None,
        "Network weights carry over from policy to policy, or restart from the pre-trained ones; default as published, "
        "carried, with --unit published and episodic, else restarted.",
        choices=RETRAINING_MODES,
    )
    training: TrainingConfig = TrainingConfig(threads=2)

    def __post_init__(self) -> None:
        check_settings(self)
        if not is_file_network(self.network):
            network_builder(self.network)  # raises for an unknown name
        else:
            split_file_network(self.network)


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that retraining needs.

    Attributes:
        dataset: to pre-train on.
        local: the local private set, to retrain and test on.
        make_model: makes the network, not yet quantised.
        training: the recipe.
        weights: whether weights are carried from policy to policy, or restarted.
        seed: of everything random.
        data_digest: of the data set as it was read; empty if it was not read.
    """

    dataset: Dataset
    local: LocalData
    make_model: Callable[[], nn.Module]
    training: TrainingConfig
    weights: RetrainingMode = "carried"
    seed: int = 1
    data_digest: str = ""

    @classmethod
    def of(cls, config: TaskConfig, seed: int, change: Callable[[Dataset], Dataset] = lambda dataset: dataset) -> Task:
        """The task of a configuration.

        Args:
            config: names data and network.
            seed: of everything random.
            change: turns the configuration's data set into another one, such as one of smaller images.

        Raises:
            ValueError: for data that cannot be used, or a network that does not suit them.
        """
        from algo.nets.data.datasets import NOISE_STD, load_dataset, local_private_set

        dataset = change(load_dataset(config.data, folder=Path(config.data_folder) if config.data_folder else None))
        digest = dataset.digest()
        dataset = dataclasses.replace(dataset, name=shown_name(config.data))  # a report shows it to others
        noise = NOISE_STD if config.noise_std is None else config.noise_std
        local = local_private_set(dataset, config.local_size, noise, seed)
        make_model = network_for(config.network, dataset, config.width)
        return cls(dataset, local, make_model, config.training, config.weights or "carried", seed, digest)

    def pretrained(self, cache: Path | None) -> Pretrained:
        """The network trained at 8 bits, or the same from the cache."""
        from algo.nets.train.pretraining import pretrain

        return pretrain(self.dataset, self.training, self.make_model, self.seed, cache)

    def retrainer(self, pretrained: Pretrained) -> Retrainer:
        """Retrains the pre-trained network under policies."""
        from algo.nets.train.retrainer import Retrainer

        return Retrainer(pretrained, self.local, self.training, self.weights, self.seed)

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """Shapes of the network's layers."""
        import torch

        from algo.nets.layer_shapes import layer_shapes

        with torch.random.fork_rng(devices=()):
            return layer_shapes(self.make_model(), self.dataset.train_images.shape[1:])


def network_for(name: str, dataset: Dataset, width: int | None = None) -> Callable[[], nn.Module]:
    """A function that makes a network by name for a data set: see `algo.nets.registry.network_builder`."""
    build = network_builder(name)
    channels, height, across = dataset.train_images.shape[1:]
    return lambda: build(dataset.classes, channels, (height, across), width)


def inputs_of(config: TaskConfig) -> Mapping[str, Path]:
    """Files that a configuration names, by the names of its settings; without the data, which a task digests itself."""
    return {"network": Path(split_file_network(config.network)[0])} if is_file_network(config.network) else {}
