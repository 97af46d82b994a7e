"""Images to pre-train on, and the local private set a chip would tune itself to.

`load_dataset` hides where the images come from: scikit-learn's digits (the offline default), Fashion-MNIST,
CIFAR-10, CIFAR-100 (the published choice), or a user's own NPZ file or folder of images. Needs no torch.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algo.nets.data import files as data_files
from algo.nets.data.files import DataError
from algo.nets.data.image_folder import read_folder
from algo.nets.data.names import DATASETS, PUBLISHED_DATASET, names_files
from algo.nets.data.own_arrays import RENUMBER, OwnData, Part, read_arrays
from algo.support.user_files import reading
from sim.files import cache_dir as default_cache_dir

__all__ = [
    "DataError",
    "Dataset",
    "LocalData",
    "check_noise",
    "fresh_images",
    "load_dataset",
    "local_private_set",
    "local_set_for_tables",
]

LOCAL_SIZES = {"digits": 600}  # the others: the published 6,000, or all there are
PUBLISHED_LOCAL_SIZE = 6000
NOISE_STD = 1.5
MOST_NOISE = 100.0  # normalised images have 1: nothing is left of them long before

_SIDE = 32
_SPLIT_SEED = 0
_PRETRAINING_SHARE = 5 / 9  # of images that come without a split of their own: 998 of the 1,797 digits
_FEWEST_LOCAL = 12
_FEWEST_IMAGES = 27  # that come without a split: the smallest local set must remain
# Limits for these images as training sees them, in standard deviations: how far float32 may have moved them, how far
# some must be from the median image, and how far a pixel may lie out. Good images are far from all three.
_MOST_LOST, _LEAST_DIFFERENCE, _FARTHEST = 0.01, 1e-4, 1e6
_AT_ONCE = 1000  # images

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Labelled images in two parts.

    Attributes:
        name: as given to `load_dataset`.
        train_images: float32 (N, C, H, W) for pre-training, each channel of mean 0 and standard deviation 1.
        train_labels: int64 (N,), each 0..classes-1.
        test_images: float32 (M, C, H, W) that pre-training never sees, shifted and scaled as the first part.
        test_labels: int64 (M,).
        classes: number of classes, at least 2.
        class_names: their names in the order of the labels, where they have any: those of a folder of images.
    """

    name: str
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: int
    class_names: tuple[str, ...] = ()

    @property
    def published(self) -> bool:
        """Whether these are the images of the published experiment, CIFAR-100."""
        return self.name == PUBLISHED_DATASET

    @property
    def description(self) -> str:
        """The name, with a remark if the data are not the published ones."""
        return self.name if self.published else f"{self.name} (not the published CIFAR-100)"

    def digest(self) -> str:
        """Hexadecimal SHA-256 of all images, labels and names of classes."""
        return _digest(
            self.train_images, self.train_labels, self.test_images, self.test_labels, class_names=self.class_names
        )


@dataclass(frozen=True)
class LocalData:
    """The local private set: noisy images of the deployed chip, never seen in pre-training.

    Attributes:
        train_images: float32 (N, C, H, W), in units of the data set's normalised images.
        train_labels: int64 (N,).
        test_images: float32 (M, C, H, W).
        test_labels: int64 (M,).
        noise_std: standard deviation of the Gaussian noise, in the same units.
        source: description of the data set the images are from.
    """

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    noise_std: float
    source: str

    def digest(self) -> str:
        """Hexadecimal SHA-256 of all images and labels."""
        return _digest(self.train_images, self.train_labels, self.test_images, self.test_labels)


def load_dataset(
    name: str,
    folder: Path | None = None,
    cache_dir: Path | None = None,
    base_url: str | None = None,
    checksums: Mapping[str, str] | None = None,
) -> Dataset:
    """Load a data set by name, fetching its files if they are not on this machine.

    Args:
        name: one of `DATASETS`; or the path of an NPZ file with images (uint8, or floating point in any range that
            float32 resolves) and labels (integers 0..classes-1), see `algo.nets.data.own_arrays`; or the path of a
            folder of images, see `algo.nets.data.image_folder`. Both parts must have images of every class.
        folder: where the original files lie; nothing is downloaded then.
        cache_dir: where downloads are kept; default `sim.files.cache_dir`.
        base_url: address of the folder to download from, instead of the data set's own.
        checksums: SHA-256 by file name, instead of those of the original files.

    Returns:
        The data set, normalised. Digits and Fashion-MNIST images become 1x32x32, CIFAR's are 3x32x32.
        If data come without a split, like the digits, 5/9 are for pre-training, drawn with a fixed seed.

    Raises:
        DataError: for an unknown name or a missing, damaged or unsuitable file; says what to do.
        OSError: for a file or folder that may not be opened.
    """
    cache = cache_dir or default_cache_dir()
    if name == "digits":
        train, test = _split(*_digits())
        return _prepare(name, *train, *test, classes=10)
    if name in data_files.READERS:
        read, classes = data_files.READERS[name]
        train, test = read(folder, cache, base_url, checksums)
        return _prepare(name, *train, *test, classes=classes)
    if not names_files(name):
        raise DataError(
            f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}, or give the path of an .npz file of "
            "images and labels, or of a folder with one subfolder of images per class; no such file or folder"
        )
    path = Path(name)
    if path.is_dir():
        return _own(name, read_folder(path))
    if not path.exists():
        raise DataError(
            f"cannot read {path}: no such file or folder; name one that exists, or one of {', '.join(DATASETS)}"
        )
    if path.suffix.lower() != ".npz":
        raise DataError(
            f"{path} is neither an .npz file nor a folder with one subfolder of images per class: give one of these "
            "(an archive must be unpacked)"
        )
    return _own(name, read_arrays(path))


def local_private_set(
    dataset: Dataset, size: int | None = None, noise_std: float = NOISE_STD, seed: int = 1
) -> LocalData:
    """Draw the local private set: a random part of the test images, with Gaussian noise added.

    Test images are the ones pre-training never saw. The first 5/6 of the draw are to train on, the rest to
    test on, as published (6,000 images of CIFAR-100: 5,000 and 1,000; Chen 2023, chapter 2).

    Args:
        dataset: where the images come from.
        size: number of images, 12 up to the number of test images; default 600 for the digits and 6,000
            otherwise, or all test images if there are fewer.
        noise_std: standard deviation of the noise, 0..`MOST_NOISE`; normalised images have 1.
        seed: of the draw and the noise, at least 0.

    Raises:
        DataError: if an argument is out of range.
    """
    most = len(dataset.test_images)
    if size is None:
        size = _usual_size(dataset)
    if not _FEWEST_LOCAL <= size <= most:
        raise DataError(f"the local set of {dataset.name} can have {_FEWEST_LOCAL}..{most} images, not {size}")
    check_noise(noise_std)
    if seed < 0:
        raise DataError(f"the seed of the local set must be at least 0, not {seed}")
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(most)[:size]
    return _noisy(dataset, chosen, size * 5 // 6, noise_std, generator)


def fresh_images(
    dataset: Dataset, local: LocalData, count: int, seed: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Test images that are not in a local set of `local_private_set`, with noise like its, and their labels.

    Args:
        dataset: where the local set comes from.
        local: the local set.
        count: number of images; if there are fewer, they are used again with other noise.
        seed: of the local set; another stream of it gives the noise.

    Raises:
        DataError: if the local set has all test images.
    """
    most = len(dataset.test_images)
    size = len(local.train_images) + len(local.test_images)
    left = np.random.default_rng(seed).permutation(most)[size:]
    if not len(left):
        raise DataError(f"all {most} test images of {dataset.name} are in the local set: give --local-size fewer")
    drawn = _noisy(dataset, np.resize(left, count), count, local.noise_std, np.random.default_rng((seed, 1)))
    return drawn.train_images, drawn.train_labels


def local_set_for_tables(
    dataset: Dataset, train: int | None, test: int, noise_std: float = NOISE_STD, seed: int = 1
) -> tuple[LocalData, Dataset]:
    """Draw a local set with more images to test on, so that policies of nearly equal accuracy can be told apart.

    Args:
        dataset: where the images come from; its test images are drawn from.
        train: number of images to train on; default as in `local_private_set`.
        test: number of images to test on, none of which is trained on. If there are too few, they are used again
            with other noise.
        noise_std, seed: as in `local_private_set`.

    Returns:
        The local set; the data set without the test images that the local set trains on.

    Raises:
        DataError: if an argument is out of range.
    """
    most = len(dataset.test_images)
    count = _usual_size(dataset) * 5 // 6 if train is None else train
    if not 2 <= count < most:
        raise DataError(f"local images to train on must be 2..{most - 1} of {dataset.name}'s, not {count}")
    check_noise(noise_std)
    generator = np.random.default_rng(seed)
    order = generator.permutation(most)
    chosen = np.concatenate([order[:count], np.resize(order[count:], test)])
    local = _noisy(dataset, chosen, count, noise_std, generator)
    images, labels = dataset.test_images[order[count:]], dataset.test_labels[order[count:]]
    return local, dataclasses.replace(dataset, test_images=images, test_labels=labels)


def _usual_size(dataset: Dataset) -> int:
    return min(LOCAL_SIZES.get(dataset.name, PUBLISHED_LOCAL_SIZE), len(dataset.test_images))


def _noisy(
    dataset: Dataset, chosen: NDArray[np.int64], train: int, noise_std: float, generator: np.random.Generator
) -> LocalData:
    """The chosen test images with noise, of which the first ``train`` are to train on."""
    noise = generator.standard_normal((len(chosen), *dataset.test_images.shape[1:]), dtype=np.float32)
    images = dataset.test_images[chosen] + np.float32(noise_std) * noise
    labels = dataset.test_labels[chosen]
    noise_std, source = float(noise_std), dataset.description
    return LocalData(images[:train], labels[:train], images[train:], labels[train:], noise_std, source)


def check_noise(noise_std: float) -> None:
    """Raise DataError unless it can be the standard deviation of noise on normalised images."""
    if not 0 <= noise_std <= MOST_NOISE:
        raise DataError(
            f"the noise's standard deviation (--noise-std) must be in 0..{MOST_NOISE:g} (normalised images have 1), "
            f"not {noise_std!r}; the default is {NOISE_STD}"
        )


def _digits() -> tuple[NDArray[np.uint8], Labels]:
    """scikit-learn's 1,797 digits, 8x8 at 17 grey levels, enlarged bilinearly to (1797, 1, 32, 32)."""
    # The file is read from the installed package without importing it: that would cost a second.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the digits come with scikit-learn, which is not installed: install rlu-cosim[train]")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with reading(path, "damaged or missing file {}", "reinstall scikit-learn", DataError):
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",")
        if table.shape != (1797, 65):
            raise ValueError(f"it holds {table.shape} numbers, not (1797, 65)")
    small = table[:, :64].reshape(-1, 8, 8) / 16
    # Pixel centres of the large image in units of small pixels; each mixes its two neighbours.
    centre = ((np.arange(_SIDE) + 0.5) / 4 - 0.5).clip(0, 7)
    mix = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(8)))
    large = np.rint(mix @ small @ mix.T * 255).astype(np.uint8)
    return large[:, None], table[:, 64].astype(np.int64)


def _own(name: str, own: OwnData) -> Dataset:
    """A user's own images, split if necessary, normalised and checked."""
    counts = [len(labels) for _, labels in own.parts]
    if len(counts) == 1 and counts[0] < _FEWEST_IMAGES:
        raise DataError(f"{name} holds {counts[0]} images; at least {_FEWEST_IMAGES} are needed: add some")
    if min(counts) < _FEWEST_LOCAL:
        raise DataError(
            f"{name} holds {counts[0]} images for pre-training and {counts[1]} for testing; at least {_FEWEST_LOCAL} "
            "of each are needed: add some"
        )
    classes = _class_count(name, own)
    if len(own.parts) == 1:
        train, test = _split(*own.parts[0])
    else:
        # Shuffled: the first images must include some of every class.
        (train, _), test = _split(*own.parts[0], share=1), own.parts[1]
    _check_every_class(name, own, train, test)
    # The check that follows finds differences that overflow or vanish.
    with np.errstate(all="ignore"):
        dataset = _prepare(
            name, train[0], train[1].astype(np.int64), test[0], test[1].astype(np.int64), classes, own.class_names
        )
        _check_seen(dataset, train[0])
    return dataset


def _class_count(name: str, own: OwnData) -> int:
    """Number of classes, at least 2; DataError unless each has images."""
    # Python's integers, because unsigned 64-bit ones do not fit into int64.
    present = sorted({label for _, labels in own.parts for label in np.unique(labels).tolist()})
    classes = present[-1] + 1
    if len(present) < 2:
        raise DataError(f"labels in {name} must have at least two classes, and all are {present[0]}; {RENUMBER}")
    if len(present) < classes:
        missing = sorted(set(range(min(classes, len(present) + 5))) - set(present))[:5]
        raise DataError(
            f"labels in {name} go up to {present[-1]}, but {classes - len(present):,} of these {classes:,} classes "
            f"have no image: {_listed(missing, classes - len(present))}; {RENUMBER}"
        )
    return int(classes)


def _check_every_class(name: str, own: OwnData, train: Part, test: Part) -> None:
    """Raise DataError unless each class has images in both parts."""
    count = sum(len(labels) for _, labels in own.parts)
    present = set(np.concatenate([np.unique(train[1]), np.unique(test[1])]).tolist())
    for part, (_, there) in (("pre-training", train), ("testing", test)):
        missing = sorted(present - set(there.tolist()))
        if missing:
            few = [own.class_names[label] if own.class_names else label for label in missing[:5]]
            raise DataError(
                f"{name}: of {count} images {len(there)} are {'drawn ' * (len(own.parts) == 1)}for {part}, and none is "
                f"of class {_listed(few, len(missing))}: add images of it, or leave the class out"
                + ("" if own.class_names else " and number the others from 0")
            )


def _listed(labels: Sequence[object], of: int) -> str:
    return ", ".join(map(str, labels)) + (f" and {of - len(labels):,} more" if of > len(labels) else "")


def _check_seen(dataset: Dataset, given: NDArray[Any]) -> None:
    """Raise DataError if little is left of a file's pre-training images, as given, in what training will see of them.

    Values far from 0, or one pixel far out, leave few digits for all others, because float32 has only seven.
    """
    name, train, test = dataset.name, dataset.train_images, dataset.test_images
    advice = "save (images - images.mean()) / images.std()"
    for channel in range(train.shape[1]):
        values = given[:, channel]
        mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        lost = 0.0
        for start in range(0, len(values), _AT_ONCE):  # all at once would need more memory than anything else
            few = slice(start, start + _AT_ONCE)
            lost += float(np.sum((train[few, channel] - (values[few].astype(np.float64) - mean) / std) ** 2))
        if not np.sqrt(lost / values.size) <= _MOST_LOST:
            raise DataError(
                f"{name}: channel {channel} has values from {values.min():.10g} to {values.max():.10g} with a standard "
                f"deviation of {std:.3g}; training computes in float32, which cannot tell them apart with its "
                f"7 digits: {advice}"
            )
    for part, seen in (("pre-training", train), ("testing", test)):
        farthest = np.abs(seen).max()
        if not farthest <= _FARTHEST:
            raise DataError(
                f"{name}: an image for {part} has a pixel {farthest:.3g} standard deviations from the mean of the "
                f"pre-training images; at most {_FARTHEST:g} make sense: correct it"
            )
    some = train[:_AT_ONCE]  # shuffled
    typical = np.median(some, 0)
    difference = np.quantile([np.sqrt(np.mean((image - typical) ** 2)) for image in some], 0.9)
    if difference < _LEAST_DIFFERENCE:
        raise DataError(
            f"{name}: once shifted and scaled, nine in ten images are within {difference:.1g} standard deviations of "
            f"one and the same image (at least {_LEAST_DIFFERENCE:g} are needed), so nothing can be learned from them: "
            f"give images that differ, or correct wrong pixels (values go from {given.min():.3g} to {given.max():.3g})"
        )


def _split(images: NDArray[Any], labels: NDArray[Any], share: float = _PRETRAINING_SHARE) -> tuple[Part, Part]:
    """Two parts in an order drawn from a fixed seed, the first with this share of the images."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(images))
    first, second = np.split(order, [round(len(images) * share)])
    return (images[first], labels[first]), (images[second], labels[second])


def _prepare(
    name: str,
    train_images: NDArray[np.uint8] | Images,
    train_labels: Labels,
    test_images: NDArray[np.uint8] | Images,
    test_labels: Labels,
    classes: int,
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """Normalise both parts by the mean and standard deviation of each channel of the first."""
    mean = train_images.mean((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
    std = train_images.std((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
    if not std.all():
        raise DataError(
            f"{name}: every pixel of a channel has the same value, as far as float32 can tell: channel "
            f"{int(std.ravel().argmin())} of the images for pre-training; leave it out, or give images that differ"
        )
    parts = [images.astype(np.float32) for images in (train_images, test_images)]
    for part in parts:  # in place: they may fill half the memory
        part -= mean
        part /= std
    return Dataset(name, parts[0], train_labels, parts[1], test_labels, classes, class_names)


def _digest(*arrays: NDArray[np.float32] | NDArray[np.int64], class_names: tuple[str, ...] = ()) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    if class_names:
        digest.update(repr(class_names).encode())
    return digest.hexdigest()
