"""Images to pre-train on, and the local private set a chip would tune itself to.

`load_dataset` hides where the images come from: scikit-learn's digits (the offline default), Fashion-MNIST,
CIFAR-10, CIFAR-100 (the published choice) or an NPZ file of one's own. Needs numpy only; no torch.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algo import data_files
from algo.data_files import DataError
from sim.files import cache_dir as default_cache_dir

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "LocalData",
    "load_dataset",
    "local_private_set",
]

DATASETS = ("digits", "fashion-mnist", "cifar10", "cifar100")
PUBLISHED_DATASET = "cifar100"
LOCAL_SIZES = {"digits": 600}  # the others: the published 6,000, or all there are
PUBLISHED_LOCAL_SIZE = 6000
NOISE_STD = 1.5

_SIDE = 32
_SPLIT_SEED = 0
_PRETRAINING_SHARE = 5 / 9  # of images that come without a split of their own: 998 of the 1,797 digits

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
            or floating point in any range) and ``labels`` ((N,) integers from 0).
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
    if name.endswith(".npz"):
        images, labels = _own_file(Path(name))
        return _prepare(name, *_split(images, labels), classes=int(labels.max()) + 1)
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
        noise_std: standard deviation of the noise, at least 0, where normalised images have 1.
        seed: of the draw and the noise, at least 0.

    Raises:
        DataError: if an argument is out of range.
    """
    most = len(dataset.test_images)
    if size is None:
        size = min(LOCAL_SIZES.get(dataset.name, PUBLISHED_LOCAL_SIZE), most)
    if not 12 <= size <= most:
        raise DataError(f"the local set of {dataset.name} can have 12..{most} images, not {size}")
    if not 0 <= noise_std < float("inf"):
        raise DataError(f"the noise's standard deviation must be at least 0 and finite, not {noise_std!r}")
    if seed < 0:
        raise DataError(f"the seed of the local set must be at least 0, not {seed}")
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(most)[:size]
    noise = generator.standard_normal(dataset.test_images[chosen].shape, dtype=np.float32)
    images = dataset.test_images[chosen] + np.float32(noise_std) * noise
    labels = dataset.test_labels[chosen]
    part = size * 5 // 6
    return LocalData(images[:part], labels[:part], images[part:], labels[part:], float(noise_std), dataset.description)


def _digits() -> tuple[NDArray[np.uint8], Labels]:
    """scikit-learn's 1,797 digits, 8x8 at 17 grey levels, enlarged bilinearly to (1797, 1, 32, 32)."""
    # The file is read from the installed package without importing it: that would cost a second.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the digits come with scikit-learn, which is not installed: install rlu-cosim[train]")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",")
        if table.shape != (1797, 65):
            raise ValueError(f"it holds {table.shape} numbers, not (1797, 65)")
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"damaged or missing file {path}: {error}; reinstall scikit-learn") from error
    small = table[:, :64].reshape(-1, 8, 8) / 16
    # Pixel centres of the large image in units of small pixels; each mixes its two neighbours.
    centre = ((np.arange(_SIDE) + 0.5) / 4 - 0.5).clip(0, 7)
    mix = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(8)))
    large = np.rint(mix @ small @ mix.T * 255).astype(np.uint8)
    return large[:, None], table[:, 64].astype(np.int64)


def _own_file(path: Path) -> tuple[NDArray[np.uint8] | Images, Labels]:
    """Images (N, C, H, W) and labels of an NPZ file, checked."""
    advice = "save it with numpy.savez(path, images=..., labels=...)"
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}; {advice}") from error
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape or labels.shape != images.shape[:1]:
        shapes = f"images {images.shape} and labels {labels.shape}"
        raise DataError(f"{path} holds {shapes}, not (N, C, H, W) or (N, H, W) and (N,); {advice}")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"images in {path} are {images.dtype}, not uint8 or floating point; {advice}")
    if not np.isfinite(images).all():
        raise DataError(f"images in {path} hold values that are not finite numbers; remove those images")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() < 1:
        raise DataError(f"labels in {path} must be integers from 0 with at least two classes; {advice}")
    if len(labels) < 27:
        raise DataError(f"{path} holds {len(labels)} images; at least 27 are needed")
    return images, labels.astype(np.int64)


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
        raise DataError(f"{name}: every pixel of a channel has the same value; give images that differ")
    parts = [(images.astype(np.float32) - mean) / std for images in (train_images, test_images)]
    return Dataset(name, parts[0], train_labels, parts[1], test_labels, classes)


def _digest(*arrays: NDArray[np.float32] | NDArray[np.int64]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
