"""The configuration of a federated run: ``config.json`` of its folder, and the options of `rlu fed run`.

Importing it brings neither NumPy nor torch, so the command line starts quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from algo.nas.config import SpaceConfig, space_of
from algo.support.settings import check_settings, from_flat, from_json, setting, to_json

#: What ``config.json`` says that it is of.
KIND = "rlu fed run"
#: The same with the version of its format.
FORMAT = f"{KIND} 5"
#: What ``config.json`` of a client's folder says.
DEVICE_FORMAT = "rlu fed client 2"

_SPACE = SpaceConfig()
Method = Literal["faqs", "fednas", "fedavg"]
METHODS: tuple[Method, ...] = ("faqs", "fednas", "fedavg")
CodecName = Literal["differences", "chapter", "chapter-widths", "float32"]
CODECS: tuple[CodecName, ...] = ("differences", "chapter", "chapter-widths", "float32")


@dataclass(frozen=True, kw_only=True)
class PartitionConfig:
    """The images, and who has which. Each field says what it means."""

    data: str = setting(
        "fashion-mnist",
        "fashion-mnist, digits, cifar10 or cifar100; an .npz file, or a folder with one subfolder per class.",
        metavar="NAME|FILE.npz|FOLDER",
    )
    data_folder: str | None = setting(None, "Folder with the data set's original files.", metavar="FOLDER")
    train_images: int | None = setting(None, "Images to train on, of all clients together; default all.", low=20)
    test_images: int | None = setting(None, "Images to test with, of all clients together; default all.", low=20)
    clients: int = setting(8, "Clients.", low=1, high=65_536)
    lda: float = setting(
        0.2, "Alpha of the Dirichlet partition: low values give each client few classes.", above=0, high=1e6
    )
    least_images: int = setting(20, "Images that every client has to train on, at least.", low=2)


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What is trained, and what each client prefers. Each field says what it means."""

    method: Method = setting(
        "faqs",
        "Architecture and bits searched by slices (faqs) or with all paths (fednas), or a fixed MobileNetV2 (fedavg).",
        choices=METHODS,
    )
    slices: Literal["used", "all"] = setting(
        "used", "With faqs: messages have the slices that a client's network uses, or all.", choices=("used", "all")
    )
    fixed: Literal["mobilenet", "largest"] = setting(
        "mobilenet",
        "With fedavg: blocks of the smallest kernel and largest expansion, as MobileNetV2, or the largest of both.",
        choices=("mobilenet", "largest"),
    )
    preferences: str = setting(
        "1/0/0",
        "Weights alpha/beta/gamma of loss, latency and size, a client's each; they are repeated if there are fewer.",
        metavar="A/B/C,...",
    )


@dataclass(frozen=True, kw_only=True)
class MessagesConfig:
    """What travels. Each field says what it means."""

    codec: CodecName = setting(
        "differences",
        "Differences to what both ends know; absolute integers of 16 bits (chapter), or of 16, 8 and 4 bits "
        "(chapter-widths, as the chapter counts fednas); or plain float32.",
        choices=CODECS,
    )
    codec_bits: float = setting(
        2.0, "With differences: the step is 8 / 2^bits of their root mean square.", above=0, high=12
    )
    feedback: Literal["on", "off"] = setting(
        "on",
        "With differences: what rounding loses at a client is added to its next message, or lost.",
        choices=("on", "off"),
    )
    clip: float = setting(
        3.0, "Longest update that counts whole, as a multiple of the median one, slice by slice; 0: no limit.", low=0
    )
    trim: int = setting(
        0,
        "How many of the highest and as many of the lowest values of each weight are left out; 0: none, and the mean "
        "is weighted by images.",
        low=0,
        high=65_536,
    )
    deadline_s: float = setting(
        600.0, "Seconds after which a round ends without the clients that have not replied.", above=0
    )


@dataclass(frozen=True, kw_only=True)
class RoundsConfig:
    """How clients train. Each field says what it means."""

    rounds: int = setting(60, "Rounds.", low=1, high=100_000)
    warmup: int = setting(10, "Rounds at the start in which only weights learn.", low=0)
    local_epochs: int = setting(1, "Epochs of every client in a round.", low=1, high=10_000)
    batch_size: int = setting(32, "Images per step.", low=2, high=65_536)
    learning_rate: float = setting(0.05, "Step size of the weights.", above=0)
    momentum: float = setting(0.9, "Momentum of SGD, 0 up to 1 exclusive.", low=0, below=1)
    weight_decay: float = setting(3e-4, "Weight decay of SGD.", low=0)
    reach: float = setting(
        2.0,
        "About how far what decides between options can move in the whole search; it sets its step size.",
        above=0,
        high=1e6,
    )
    tuning_epochs: int = setting(5, "Epochs of each client's own network after the last round.", low=0, high=10_000)


@dataclass(frozen=True, kw_only=True)
class FedConfig:
    """Everything a run depends on.

    Attributes:
        partition, space, method, messages, rounds: the parts.
        seed: of everything random, 0..2^31 - 1.
        threads: of torch.

    Raises:
        ValueError: for a value that a setting may not have, or values that do not go together.
    """

    partition: PartitionConfig = PartitionConfig()
    space: SpaceConfig = _SPACE
    method: MethodConfig = MethodConfig()
    messages: MessagesConfig = MessagesConfig()
    rounds: RoundsConfig = RoundsConfig()
    seed: int = setting(1, "Seed of everything random.", low=0, high=2**31 - 1)
    threads: int = setting(1, "CPU threads of training.", low=1, high=256)

    def __post_init__(self) -> None:
        check_settings(self)
        space_of(self.space)
        preferences_of(self.method.preferences)

    @classmethod
    def of(cls, **values: Any) -> FedConfig:
        """A configuration from values by the settings' own names; the rest defaults."""
        return from_flat(cls, values)

    def to_json(self) -> dict[str, Any]:
        """As an object for JSON, with its format."""
        return {"format": FORMAT, **to_json(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FedConfig:
        """What `to_json` gave; raises ValueError for anything else."""
        if content.get("format") != FORMAT:
            raise ValueError(
                f"it is not a federated run of this version: format must be {FORMAT!r}, not {content.get('format')!r}"
            )
        return from_json(cls, {name: value for name, value in content.items() if name != "format"})


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """What a client is. Each field says what it means.

    Raises:
        ValueError: for a value that a setting may not have.
    """

    index: int = setting(0, "Number of the client, from 0; each has another.", low=0, high=65_535)
    data: str = setting(
        "fashion-mnist",
        "The client's images: an .npz file, or a folder with one subfolder per class; or a data set by its name.",
        metavar="FILE.npz|FOLDER|NAME",
    )
    data_folder: str | None = setting(None, "Folder with the data set's original files.", metavar="FOLDER")
    share: bool = setting(
        False, "Take only the client's share of these images, dealt out as the run says; for trials with one data set."
    )
    device: str | None = setting(
        None, "Latency table of the client's device; default the server's.", metavar="TABLE.json"
    )
    preference: str | None = setting(
        None, "The client's own weights alpha/beta/gamma of loss, latency and size; default the run's.", metavar="A/B/C"
    )
    threads: int = setting(1, "CPU threads of training.", low=1, high=256)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.preference is not None and len(preferences_of(self.preference)) != 1:
            raise ValueError(f"a client has one preference, such as 0.8/0.1/0.1, not {self.preference!r}")

    @classmethod
    def of(cls, **values: Any) -> DeviceConfig:
        """A configuration from values by the settings' own names; the rest defaults."""
        return from_flat(cls, values)

    def to_json(self) -> dict[str, Any]:
        """As an object for JSON, with its format."""
        return {"format": DEVICE_FORMAT, **to_json(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DeviceConfig:
        """What `to_json` gave; raises ValueError for anything else."""
        if content.get("format") != DEVICE_FORMAT:
            raise ValueError(f"it is not of a client of this version: format must be {DEVICE_FORMAT!r}")
        return from_json(cls, {name: value for name, value in content.items() if name != "format"})


def preferences_of(text: str) -> list[tuple[float, float, float]]:
    """Alpha, beta and gamma from ``0.8/0.1/0.1,0.4/0.5/0.1``.

    Raises:
        ValueError: for another form, or weights that are not in 0..1 with a sum of 1.
    """
    found = []
    for part in text.split(","):
        try:
            alpha, beta, gamma = (float(word) for word in part.split("/"))
        except ValueError:
            raise ValueError(
                f"a preference is alpha/beta/gamma, such as 0.8/0.1/0.1, and clients' are separated by commas; not "
                f"{part.strip()!r}"
            ) from None
        if not (all(0 <= one <= 1 for one in (alpha, beta, gamma)) and abs(alpha + beta + gamma - 1) < 1e-9):
            raise ValueError(
                f"alpha, beta and gamma must be in 0..1 and add up to 1, not {alpha:g} + {beta:g} + {gamma:g} = "
                f"{alpha + beta + gamma:g}"
            )
        found.append((alpha, beta, gamma))
    return found
