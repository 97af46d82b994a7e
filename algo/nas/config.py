"""The configuration of an HQNAS search: ``config.json`` of its run folder, and the options of `rlu nas search`.

Importing it brings neither NumPy nor torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from algo.nas.space import SPACES, Space, space_named
from algo.nets.data.names import DATASETS
from algo.support.settings import check_settings, setting

Levels = Literal["single", "two"]
Scores = Literal["measured", "learned"]


@dataclass(frozen=True, kw_only=True)
class NasTask:
    """What is searched for whom. Each field says what it means."""

    data: str = setting(
        "digits", f"{', '.join(DATASETS)}; an NPZ file; or a folder with one subfolder of images per class."
    )
    data_folder: str | None = setting(
        None, "Folder with the downloaded files of a built-in data set; nothing is downloaded then."
    )
    space: str = setting("small", f"What to choose from: {', '.join(SPACES)}.", choices=tuple(SPACES), metavar="NAME")
    device: str = setting(
        "cpu",
        "Where the network will run: cpu, this machine with ONNX Runtime; a chip, see rlu chip table --help; or a file "
        "of rlu nas latency-table.",
        metavar="cpu|CHIP|FILE",
    )


@dataclass(frozen=True, kw_only=True)
class NasObjective:
    """How fast the network shall be. Each field says what it means."""

    latency: str | None = setting(
        None,
        "The latency to meet: 0.8ms; or 60%, of that of the largest network at 8 bits.",
        metavar="MS|PERCENT",
    )
    mu: float | None = setting(
        None, "Instead of a latency, the published weight of accuracy; with --nu it makes 1.", low=0, high=1
    )
    nu: float | None = setting(
        None, "The published weight of latency, in units of the mean over the whole space.", low=0, high=1
    )
    pressure: float = setting(
        5.0, "Weight of the latency beyond the limit, relative to it, once it has risen to its full height.", above=0
    )


@dataclass(frozen=True, kw_only=True)
class NasLearning:
    """How the super-network learns. Each field says what it means."""

    paths: Literal["shared", "multi", "single"] = setting(
        "shared",
        "Weights of a block's paths: shared, parts of the largest, all in one convolution; multi, each its own, all "
        "computed, as published; single, shared and one drawn each step.",
        choices=("shared", "multi", "single"),
    )
    epochs: int = setting(12, "Passes over one half of the training images.", low=1, high=10_000)
    warmup: int = setting(4, "The first of them, which leave the choices alone.", low=0)
    batch_size: int = setting(64, "Images per step.", low=2)
    rate: float = setting(0.05, "First step size of the weights; it falls to 0 along a cosine.", above=0)
    momentum: float = setting(0.9, low=0, below=1)
    weight_decay: float = setting(3e-4, low=0)
    reach: float = setting(
        8.0,
        "About how far a choice's logit can move in the whole search; it sets the step size of the choices.",
        above=0,
    )
    levels: Levels = setting(
        "single",
        "Choices learn from the same images as the weights (single, as published), or from the other half (two).",
        choices=("single", "two"),
    )
    bits_lead: float = setting(
        0.5, "By how much the logit of a bit-width is above the next lower one's at the start.", low=0
    )
    coldest: float = setting(
        0.2, "Temperature of the choices' softmax at the end; 1 at the start, and 1 leaves it.", above=0, high=1
    )
    noise: Literal["gumbel", "none"] = setting(
        "gumbel",
        "After the warm-up mix options at random, by the Gumbel softmax, so that the weights learn to be nearly one "
        "network; none mixes by the probabilities, as published.",
        choices=("gumbel", "none"),
    )
    dropout: float = setting(0.2, "Share of features set to 0 in the first fifth of the epochs.", low=0, below=1)
    scores: Scores = setting(
        "measured",
        "What ranks the options in the end: the loss with each of them, or the logits alone.",
        choices=("measured", "learned"),
    )
    calibration: int = setting(
        50,
        "Batches that batch normalisation takes new averages from before a network is judged; 0 keeps the old.",
        low=0,
    )
    threads: int = setting(1, "CPU threads; more only help on idle cores.", low=1, high=256)


@dataclass(frozen=True, kw_only=True)
class NasFinish:
    """How the network that was found is trained, on all training images. Each field says what it means."""

    finish_epochs: int = setting(4, "Passes in float32, from the shared weights.", low=0)
    quantised_epochs: int = setting(4, "Passes after that with the bits that were found.", low=1)
    finish_batch_size: int = setting(64, low=2)
    finish_rate: float = setting(0.05, "First step size in float32; it falls to 0 along a cosine.", above=0)
    quantised_rate: float = setting(0.01, "The same for the quantised passes.", above=0)


@dataclass(frozen=True, kw_only=True)
class NasConfig:
    """Everything a search depends on.

    Attributes:
        task, objective, learning, finish: the parts.
        seed: of everything random, 0..2^31-1.

    Raises:
        ValueError: for a value that a setting may not have, or values that do not go together.
    """

    task: NasTask = NasTask()
    objective: NasObjective = NasObjective()
    learning: NasLearning = NasLearning()
    finish: NasFinish = NasFinish()
    seed: int = setting(1, "Seed of everything random.", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        check_settings(self)
        objective, learning = self.objective, self.learning
        weights = {"mu": objective.mu, "nu": objective.nu}
        given = [name for name, value in weights.items() if value is not None]
        if objective.latency is not None and given:
            raise ValueError(
                f"latency {objective.latency} and {' and '.join(given)} exclude each other: name a latency, or weigh "
                "it against accuracy"
            )
        if objective.latency is None and not given:
            raise ValueError("say how fast: --latency 0.8ms or --latency 60%, or the published --mu 0.5 --nu 0.5")
        if given and (objective.mu is None or objective.nu is None):
            raise ValueError(f"{given[0]} is given alone: mu and nu go together, and make 1")
        if objective.mu is not None and objective.nu is not None and abs(objective.mu + objective.nu - 1) > 1e-9:
            raise ValueError(f"mu + nu must be 1, not {objective.mu:g} + {objective.nu:g}")
        if learning.warmup >= learning.epochs:
            raise ValueError(
                f"warmup must leave an epoch for the choices: at most {learning.epochs - 1} of {learning.epochs}, not "
                f"{learning.warmup}"
            )

    @property
    def space(self) -> Space:
        """What is chosen from."""
        return space_named(self.task.space)
