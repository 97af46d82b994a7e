"""Images to pre-train on, and the local private set a chip would tune itself to.

`load_dataset` hides where the images come from: scikit-learn's digits (the offline default), Fashion-MNIST,
CIFAR-10, CIFAR-100 (the published choice) or an NPZ file of one's own. Needs numpy only; no torch.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from algo.nets.data import files as data_files
from algo.nets.data.files import DataError
from algo.support.user_files import reading
from sim.files import cache_dir as default_cache_dir

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "LocalData",
    "check_noise",
    "load_dataset",
    "local_private_set",
]

DATASETS = ("digits", "fashion-mnist", "cifar10", "cifar100")
PUBLISHED_DATASET = "cifar100"
LOCAL_SIZES = {"digits": 600}  # the others: the published 6,000, or all there are
PUBLISHED_LOCAL_SIZE = 6000
NOISE_STD = 1.5
MOST_NOISE = 100.0  # where images have 1: nothing is left of them long before

_SIDE = 32
_SPLIT_SEED = 0
_PRETRAINING_SHARE = 5 / 9  # of images that come without a split of their own: 998 of the 1,797 digits
_FEWEST_IMAGES = 27  # of a file of one's own: the smallest local set must remain
# Of such images as training sees them, in standard deviations: how far float32 may have moved them, how far some of
# them must be from the median image, and how far a pixel may lie out. Honest images are far from all three.
_MOST_LOST, _LEAST_DIFFERENCE, _FARTHEST = 0.01, 1e-4, 1e6
_ADVICE = "save it with numpy.savez(path, images=..., labels=...)"
_RENUMBER = "number the classes with numpy.unique(labels, return_inverse=True)[1]"

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
    """

    name: str
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: int

    @property
    def published(self) -> bool:
        """Whether these are the images of the published experiment, CIFAR-100."""
        return self.name == PUBLISHED_DATASET

    @property
    def description(self) -> str:
        """The name, followed by a remark where the data are not the published ones."""
        return self.name if self.published else f"{self.name} (not the published CIFAR-100)"

    def digest(self) -> str:
        """Hexadecimal SHA-256 of all images and labels."""
        return _digest(self.train_images, self.train_labels, self.test_images, self.test_labels)


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
    """Load a data set by name, fetching its files where they are not on this machine.

    Args:
        name: one of `DATASETS`, or the path of an NPZ file with ``images`` ((N, C, H, W) or (N, H, W); uint8,
            or floating point in any range that float32 resolves) and ``labels`` ((N,) integers 0..classes-1, with
            images of every class in both parts).
        folder: where the original files lie; nothing is downloaded then.
        cache_dir: where downloads are kept; default `sim.files.cache_dir`.
        base_url: address of the folder to download from, instead of the data set's own.
        checksums: SHA-256 by file name, instead of those of the original files.

    Returns:
        The data set, normalised. Digits and Fashion-MNIST images become 1x32x32, CIFAR's are 3x32x32.
        The digits and NPZ files come without a split: 5/9 are for pre-training, from a fixed seed.

    Raises:
        DataError: for an unknown name or a missing, damaged or unsuitable file; says what to do.
    """
    cache = cache_dir or default_cache_dir()
    if name == "digits":
        return _prepare(name, *_split(*_digits()), classes=10)
    if name == "fashion-mnist":
        train, test = data_files.fashion_mnist(folder, cache, base_url, checksums)
        return _prepare(name, _padded(train[0]), train[1], _padded(test[0]), test[1], classes=10)
    if name in ("cifar10", "cifar100"):
        train, test = data_files.cifar(name, folder, cache, base_url, checksums)
        return _prepare(name, *train, *test, classes=10 if name == "cifar10" else 100)
    if name.lower().endswith(".npz"):
        images, labels = _own_file(Path(name))
        train_part, train_labels, test_part, test_labels = _split(images, labels)
        classes = _classes(name, labels, train_labels, test_labels)
        labelled = (train_labels.astype(np.int64), test_labels.astype(np.int64))
        # Differences that overflow, or that nothing is left of, are found by the check that follows.
        with np.errstate(all="ignore"):
            dataset = _prepare(name, train_part, labelled[0], test_part, labelled[1], classes)
            _check_seen(dataset, train_part)
        return dataset
    raise DataError(
        f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}, "
        "or give the path of an .npz file with `images` and `labels`"
    )


def local_private_set(
    dataset: Dataset, size: int | None = None, noise_std: float = NOISE_STD, seed: int = 1
) -> LocalData:
    """Draw the local private set: a random part of the test images, with Gaussian noise added.

    Test images are the ones pre-training never saw. The first 5/6 of the draw are to train on, the rest to
    test on, as published (6,000 images of CIFAR-100: 5,000 and 1,000; Chen 2023, chapter 2).

    Args:
        dataset: where the images come from.
        size: number of images, 12 up to the number of test images; default 600 for the digits and 6,000
            otherwise, or all test images where there are fewer.
        noise_std: standard deviation of the noise, 0..`MOST_NOISE`, where normalised images have 1.
        seed: of the draw and the noise, at least 0.

    Raises:
        DataError: if an argument is out of range.
    """
    most = len(dataset.test_images)
    if size is None:
        size = min(LOCAL_SIZES.get(dataset.name, PUBLISHED_LOCAL_SIZE), most)
    if not 12 <= size <= most:
        raise DataError(f"the local set of {dataset.name} can have 12..{most} images, not {size}")
    check_noise(noise_std)
    if seed < 0:
        raise DataError(f"the seed of the local set must be at least 0, not {seed}")
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(most)[:size]
    noise = generator.standard_normal(dataset.test_images[chosen].shape, dtype=np.float32)
    images = dataset.test_images[chosen] + np.float32(noise_std) * noise
    labels = dataset.test_labels[chosen]
    part = size * 5 // 6
    return LocalData(images[:part], labels[:part], images[part:], labels[part:], float(noise_std), dataset.description)


def check_noise(noise_std: float) -> None:
    """Raise DataError unless it can be the standard deviation of noise on normalised images."""
    if not 0 <= noise_std <= MOST_NOISE:
        raise DataError(
            f"the noise's standard deviation (--noise-std) must be in 0..{MOST_NOISE:g}, where images have 1, "
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


def _own_file(path: Path) -> tuple[NDArray[np.uint8] | Images, Labels]:
    """Images (N, C, H, W) and labels of an NPZ file, checked as far as they can be before they are split."""
    if not path.is_file():
        raise DataError(f"cannot read {path}: there is no such file; name one, or one of {', '.join(DATASETS)}")
    with reading(path, "cannot read {}", _ADVICE, DataError):
        images, labels = _arrays(path)
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.shape[:1] == images.shape[:1]:
        raise DataError(
            f"labels in {path} are of shape {labels.shape}, not (N,): if a row has a 1 at its class, "
            "save labels.argmax(1) instead"
        )
    shapes = f"{path} holds images {images.shape} and labels {labels.shape}"
    if images.ndim not in (3, 4) or labels.ndim != 1:
        raise DataError(f"{shapes}, not (N, C, H, W) or (N, H, W) and (N,); {_ADVICE}")
    if 0 in images.shape:
        raise DataError(f"{shapes}: there is nothing in an axis of 0; {_ADVICE}")
    if len(labels) != len(images):
        raise DataError(f"{shapes}: give as many labels as images; {_ADVICE}")
    if len(labels) < _FEWEST_IMAGES:
        raise DataError(f"{path} holds {len(labels)} images; at least {_FEWEST_IMAGES} are needed: add some")
    if images.ndim == 4 and images.shape[3] in (1, 3, 4) and min(images.shape[1:3]) > 4:
        raise DataError(
            f"images in {path} are {images.shape}, with the channels last, which is not accepted yet: put them "
            "second, (N, C, H, W), with numpy.transpose(images, (0, 3, 1, 2))"
        )
    _check_values(path, images)
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels in {path} must be integers from 0, not {labels.dtype}; {_RENUMBER}")
    if labels.min() < 0:
        raise DataError(f"labels in {path} must be integers from 0, not {labels.min()}; {_RENUMBER}")
    return images[:, None] if images.ndim == 3 else images, labels


def _arrays(path: Path) -> list[NDArray[Any]]:
    """``images`` and ``labels`` of an NPZ file, unpacked only if they are what their headers say."""
    with path.open("rb") as opened:
        begins = opened.read(32)
    if begins.startswith(b"\x93NUMPY"):
        raise ValueError("it is a single array, of numpy.save, whatever its name says")
    if not begins.startswith(b"PK"):
        page = " (a web page in place of the file: fetch the file itself)" * begins.lstrip().startswith(b"<")
        raise ValueError(f"it is no NPZ file, but begins with {begins!r}{page}")
    arrays = []
    with zipfile.ZipFile(path) as archive:
        held = archive.namelist()
        for name in ("images", "labels"):
            member = f"{name}.npy"
            if member not in held:
                raise ValueError(f"it holds no {name}, but {', '.join(one.removesuffix('.npy') for one in held)}")
            with archive.open(member) as file:
                version = npy.read_magic(file)
                header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, kind = header(file)
            size, there = math.prod(shape) * kind.itemsize, archive.getinfo(member).file_size
            if kind.hasobject:
                raise ValueError(f"its {name} are Python objects; make them an array of numbers")
            if size > there:
                raise ValueError(f"its {name} are damaged: {shape} of {kind} take {size:,} bytes, and it has {there:,}")
            with archive.open(member) as file:
                arrays.append(npy.read_array(file, allow_pickle=False))
    return arrays


def _check_values(path: Path, images: NDArray[Any]) -> None:
    """Raise DataError unless the images are numbers that float32, which training computes in, can hold."""
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        real = np.issubdtype(images.dtype, np.integer) or images.dtype == np.bool_
        advice = "convert them with images.astype(numpy.float32)" if real else _ADVICE
        raise DataError(f"images in {path} are {images.dtype}, not uint8 or floating point; {advice}")
    finite = np.isfinite(images)
    if not finite.all():
        number, *_ = np.argwhere(~finite)[0]
        without = f"{(~finite).any(tuple(range(1, images.ndim))).sum():,} of {len(images):,} images"
        raise DataError(
            f"images in {path} hold values that are not finite numbers ({without}, the first is image {number}); "
            "remove those images"
        )
    for value in (images.min(), images.max()):
        if abs(value) > np.finfo(np.float32).max:
            raise DataError(
                f"images in {path} reach {np.format_float_scientific(value, 2)}; training computes in float32, which "
                f"ends at {np.finfo(np.float32).max:.2g}: scale them, with images / abs(images).max()"
            )


def _classes(name: str, labels: NDArray[Any], train_labels: NDArray[Any], test_labels: NDArray[Any]) -> int:
    """Number of classes, at least 2; DataError unless each has images in both parts."""
    present = np.unique(labels).tolist()  # Python's integers: unsigned ones of 64 bits do not fit into int64
    classes = present[-1] + 1
    if len(present) < 2:
        raise DataError(f"labels in {name} must have at least two classes, and all are {present[0]}; {_RENUMBER}")
    if len(present) < classes:
        missing = sorted(set(range(min(classes, len(present) + 5))) - set(present))[:5]
        raise DataError(
            f"labels in {name} go up to {present[-1]}, but {classes - len(present):,} of these {classes:,} classes "
            f"have no image: {_listed(missing, classes - len(present))}; {_RENUMBER}"
        )
    for part, there in (("pre-training", train_labels), ("testing", test_labels)):
        missing = sorted(set(present) - set(there.tolist()))
        if missing:
            raise DataError(
                f"{name}: of {len(labels)} images {len(there)} are drawn for {part}, and none is of class "
                f"{_listed(missing[:5], len(missing))}: add images of it, or leave the class out and number the others "
                "from 0"
            )
    return int(classes)


def _listed(labels: list[int], of: int) -> str:
    return ", ".join(map(str, labels)) + (f" and {of - len(labels):,} more" if of > len(labels) else "")


def _check_seen(dataset: Dataset, given: NDArray[Any]) -> None:
    """Raise DataError if little is left of a file's pre-training images, as given, in what training will see of them.

    Values far from 0 and a pixel that lies far out take the digits from all others, as float32 has only seven.
    """
    name, train, test = dataset.name, dataset.train_images, dataset.test_images
    advice = "save (images - images.mean()) / images.std()"
    for channel in range(train.shape[1]):
        values = given[:, channel].astype(np.float64)
        lost = train[:, channel] - (values - values.mean()) / values.std()
        if not np.sqrt(np.mean(lost**2)) <= _MOST_LOST:
            raise DataError(
                f"{name}: channel {channel} has values from {values.min():.10g} to {values.max():.10g} with a standard "
                f"deviation of {values.std():.3g}; training computes in float32, which cannot tell them apart with its "
                f"7 digits: {advice}"
            )
    for part, seen in (("pre-training", train), ("testing", test)):
        farthest = np.abs(seen).max()
        if not farthest <= _FARTHEST:
            raise DataError(
                f"{name}: an image for {part} has a pixel {farthest:.3g} standard deviations from the mean of the "
                f"pre-training images; at most {_FARTHEST:g} make sense: correct it"
            )
    some = train[:1000]  # in no order
    typical = np.median(some, 0)
    difference = np.quantile([np.sqrt(np.mean((image - typical) ** 2)) for image in some], 0.9)
    if difference < _LEAST_DIFFERENCE:
        raise DataError(
            f"{name}: once shifted and scaled, nine in ten images are within {difference:.1g} standard deviations of "
            f"one and the same image (at least {_LEAST_DIFFERENCE:g} are needed), so nothing can be learned from them: "
            f"give images that differ, or correct wrong pixels (values go from {given.min():.3g} to {given.max():.3g})"
        )


def _split(
    images: NDArray[np.uint8] | Images, labels: Labels
) -> tuple[NDArray[np.uint8] | Images, Labels, NDArray[np.uint8] | Images, Labels]:
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(images))
    first, second = np.split(order, [round(len(images) * _PRETRAINING_SHARE)])
    return images[first], labels[first], images[second], labels[second]


def _padded(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (N, 28, 28) with a border of 2 pixels of background, (N, 1, 32, 32)."""
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None]


def _prepare(
    name: str,
    train_images: NDArray[np.uint8] | Images,
    train_labels: Labels,
    test_images: NDArray[np.uint8] | Images,
    test_labels: Labels,
    classes: int,
) -> Dataset:
    """Normalise both parts by the mean and standard deviation of each channel of the first."""
    mean = train_images.mean((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
    std = train_images.std((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
    if not std.all():
        raise DataError(
            f"{name}: every pixel of a channel has the same value, as far as float32 can tell: channel "
            f"{int(std.ravel().argmin())} of the images for pre-training; leave it out, or give images that differ"
        )
    parts = [(images.astype(np.float32) - mean) / std for images in (train_images, test_images)]
    return Dataset(name, parts[0], train_labels, parts[1], test_labels, classes)


def _digest(*arrays: NDArray[np.float32] | NDArray[np.int64]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
