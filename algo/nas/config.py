"""The configuration of a search: ``config.json`` of its folder, and the options of `rlu nas search`.

Importing it brings neither NumPy nor torch, so the command line starts quickly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from algo.nas.space import SPACES, Space, space_named
from algo.nets.data.names import names_files
from algo.support.settings import (
    Config,
    changed,
    check_settings,
    flat,
    from_flat,
    from_json,
    setting,
    to_json,
    whole_numbers,
)

#: What ``config.json`` says that it is of: a search, and not a tuning run.
KIND = "rlu nas search"
#: The same with the version of its format.
FORMAT = f"{KIND} 2"
#: The device that is this machine.
MEASURED = "measured"
#: What a search aims at if nothing is said.
USUAL_LATENCY = "80%"

Augment = Literal["none", "shift", "shift-mirror"]
AUGMENTS: tuple[Augment, ...] = ("none", "shift", "shift-mirror")
Paths = Literal["shared", "multi", "single"]
#: Super-networks. ``multi``, as drawn in the publication: every path has weights of its own, and all are computed.
#: ``shared``: small kernels and expansions are parts of the largest, and all paths together are one convolution.
#: ``single``: weights as in ``shared``, but a step trains one path and one bit-width of each block, drawn by their
#: probabilities.
PATHS: tuple[Paths, ...] = ("shared", "multi", "single")
Scores = Literal["measured", "learned"]
SCORES: tuple[Scores, ...] = ("measured", "learned")
Mixtures = Literal["random", "plain"]
MIXTURES: tuple[Mixtures, ...] = ("random", "plain")
Begin = Literal["search", "fresh"]
BEGIN: tuple[Begin, ...] = ("search", "fresh")
Levels = Literal["single", "two"]
LEVELS: tuple[Levels, ...] = ("single", "two")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images. Each field says what it means."""

    data: str = setting(
        "fashion-mnist",
        "fashion-mnist, digits, cifar10 or cifar100; an .npz file, or a folder with one subfolder per class.",
        metavar="NAME|FILE.npz|FOLDER",
    )
    data_folder: str | None = setting(None, "Folder with the data set's original files.", metavar="FOLDER")
    train_images: int | None = setting(None, "Images to train on, at most; default all.", low=20)
    augment: Augment = setting(
        "none", "Changes of the images of every step: small shifts, and mirroring left to right.", choices=AUGMENTS
    )


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """What is chosen from. Each field says what it means."""

    space: str = setting("small", f"Space of networks: {', '.join(SPACES)}.", metavar="NAME")
    bits: str | None = setting(None, "Bit-widths to choose from; default those of the space.", metavar="N,N,...")
    device: str = setting(
        MEASURED,
        "What latencies come from: this machine with ONNX Runtime (measured), a chip, or a table's file.",
        metavar="measured|evolver|zigzag|FILE.yaml|TABLE.json",
    )


@dataclass(frozen=True, kw_only=True)
class AimConfig:
    """What is minimised: the loss under a named latency and size, or mu CE + nu Lat as published.

    Each field says what it means.
    """

    latency: str | None = setting(
        None,
        f"Latency to keep: in ms, or in % of the network that is largest in every block at 8 bits. Default "
        f"{USUAL_LATENCY}, unless --mu and --nu are given.",
        metavar="0.8ms|60%",
    )
    size: str | None = setting(
        None,
        "Size of the weights to keep beside --latency: in KiB, or in % of the largest network at 8 bits.",
        metavar="60KiB|50%",
    )
    mu: float | None = setting(None, "Weight of the cross-entropy, as published.", low=0, high=1)
    nu: float | None = setting(None, "Weight of the latency, as published: 1 - mu.", low=0, high=1)
    pressure: float = setting(
        4.0, "With --latency: weight of the part beyond it, and beyond --size, after warm-up.", above=0
    )


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How the super-network learns. Each field says what it means."""

    paths: Paths = setting(
        "shared",
        "Super-network: one kernel for all paths (shared), a kernel for each (multi), or one path drawn a step.",
        choices=PATHS,
    )
    epochs: int = setting(12, "Epochs of the search.", low=1, high=10_000)
    warmup: int = setting(4, "Epochs at the start in which only the weights learn.", low=0)
    batch_size: int = setting(64, "Images per step.", low=2)
    learning_rate: float = setting(0.05, "First step size of the weights.", above=0)
    weight_decay: float = setting(3e-4, low=0)
    momentum: float = setting(0.9, low=0, below=1)
    reach: float = setting(
        8.0, "About how far the logits of theta and phi can move in the whole search; it sets their step size.", above=0
    )
    temperature: float = setting(0.2, "Temperature of the choices at the end; it starts at 1.", above=0, high=1)
    bits_bias: float = setting(
        1.0, "How far the logit of each bit-width is above that of the next lower one at the start.", low=0
    )
    dropout: float = setting(0.2, "Dropout before the last layer in the first fifth of the epochs.", low=0, below=1)
    mixtures: Mixtures = setting(
        "random",
        "Shares of the options after warm-up: random, nearer to a choice from epoch to epoch, or as they are.",
        choices=MIXTURES,
    )
    levels: Levels = setting(
        "single", "Whether theta and phi learn from the same images as the weights, or from others.", choices=LEVELS
    )


@dataclass(frozen=True, kw_only=True)
class ChoiceConfig:
    """How the network is chosen and finished. Each field says what it means."""

    scores: Scores = setting(
        "learned",
        "What ranks a block's options: the loss when it is chosen, measured, or its probability.",
        choices=SCORES,
    )
    statistics_batches: int = setting(
        50, "Batches that give the statistics of batch normalisation before a network is judged.", low=1
    )
    score_images: int = setting(1000, "Images of the validation half that scores are measured on, at most.", low=10)
    begin: Begin = setting(
        "fresh", "Weights that the training of the network found begins with: the search's, or fresh.", choices=BEGIN
    )
    tuning_epochs: int = setting(6, "Epochs of training after the search, in float32.", low=0, high=10_000)
    quantised_epochs: int = setting(2, "Epochs after that with the bits found.", low=1, high=10_000)
    tuning_rate: float = setting(0.05, "First step size of these epochs; a fifth of it with the bits found.", above=0)


@dataclass(frozen=True, kw_only=True)
class NasConfig:
    """Everything a search depends on.

    Attributes:
        seed: of everything random, 0..2^31 - 1.
        threads: of torch.
        data, space, aim, learning, choice: the parts.

    Raises:
        ValueError: for a value that a setting may not have, or values that do not go together.
    """

    data: DataConfig = DataConfig()
    space: SpaceConfig = SpaceConfig()
    aim: AimConfig = AimConfig()
    learning: LearningConfig = LearningConfig()
    choice: ChoiceConfig = ChoiceConfig()
    seed: int = setting(1, "Seed of everything random.", low=0, high=2**31 - 1)
    threads: int = setting(1, "CPU threads of training.", low=1, high=256)

    def __post_init__(self) -> None:
        aim = self.aim
        if aim.latency is None and aim.mu is None and aim.nu is None:
            aim = replace(aim, latency=USUAL_LATENCY)
            object.__setattr__(self, "aim", aim)
        check_settings(self)
        if aim.latency is not None and (aim.mu is not None or aim.nu is not None):
            raise ValueError(
                f"latency {aim.latency} and the weights mu and nu exclude each other: give --latency, or --mu and --nu"
            )
        if aim.latency is None and (aim.mu is not None or aim.nu is not None):
            if aim.mu is None or aim.nu is None:
                raise ValueError("mu and nu go together: give both, with a sum of 1")
            if not math.isclose(aim.mu + aim.nu, 1, abs_tol=1e-9):
                raise ValueError(f"mu and nu must add up to 1, not {aim.mu:g} + {aim.nu:g} = {aim.mu + aim.nu:g}")
        if aim.latency is not None:
            parsed_latency(aim.latency)
        if aim.size is not None:
            parsed_size(aim.size)
            if aim.latency is None:
                raise ValueError(f"size {aim.size} goes with a latency: give --latency in place of mu and nu")
        if self.learning.warmup >= self.learning.epochs:
            raise ValueError(
                f"warmup must be below the {self.learning.epochs} epochs, not {self.learning.warmup}: the choices "
                "need epochs to learn in"
            )
        space_of(self.space)

    @property
    def searched(self) -> Space:
        """The space that is searched."""
        return space_of(self.space)

    @classmethod
    def of(cls, **values: Any) -> NasConfig:
        """A configuration from values by the settings' own names; the rest defaults."""
        return from_flat(cls, values)

    def to_json(self) -> dict[str, Any]:
        """As an object for JSON, with its format."""
        return {"format": FORMAT, **to_json(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> NasConfig:
        """What `to_json` gave; raises ValueError for anything else."""
        if content.get("format") != FORMAT:
            raise ValueError(
                f"it is not a search of this version: format must be {FORMAT!r}, not {content.get('format')!r}"
            )
        return from_json(cls, {name: value for name, value in content.items() if name != "format"})


def space_of(config: SpaceConfig) -> Space:
    """The space of these settings; raises ValueError, which names what is wrong, if there is none."""
    space = space_named(config.space)
    return space if config.bits is None else replace(space, bits=whole_numbers(config.bits))


def parsed_latency(text: str) -> tuple[float, bool]:
    """The number of ``0.8ms`` or ``60%``, and whether it is in % of the largest network's latency.

    Raises:
        ValueError: for another form, or a number that no device has.
    """
    return _parsed(text, "ms", "a latency", "0.8ms")


def parsed_size(text: str) -> tuple[float, bool]:
    """The number of ``60KiB`` or ``50%``, and whether it is in % of the largest network's size; errors as above."""
    return _parsed(text, "KiB", "a size", "60KiB")


_LEAST, _MOST = 1e-9, 1e12


def _parsed(text: str, unit: str, what: str, example: str) -> tuple[float, bool]:
    try:
        if not text.endswith((unit, "%")):
            raise ValueError
        number = float(text.removesuffix(unit).removesuffix("%"))
    except ValueError:
        raise ValueError(f"{what} must be a number with its unit, such as {example} or 60%, not {text!r}") from None
    if not _LEAST <= number <= _MOST:
        raise ValueError(f"{what} must be in {_LEAST:g}..{_MOST:g} {unit} or %, not {text!r}")
    return number, text.endswith("%")


def located(config: Config) -> Config:
    """The configuration with absolute paths, so that a run can be resumed from anywhere."""
    values = flat(config)
    paths = {
        "data": names_files(values["data"]),
        "data_folder": values["data_folder"] is not None,
        "device": is_file(values["device"]),
    }
    return changed(config, **{name: str(Path(values[name]).absolute()) for name, is_path in paths.items() if is_path})


def is_file(device: str) -> bool:
    """Whether a device is a file: a table or the description of a chip."""
    return Path(device).suffix != ""
