"""A user's arrays in an NPZ file, converted to the form (N, C, H, W) with labels (N,).

Three naming schemes are known: ``images`` and ``labels``, which are split later; Keras's ``x_train``,
``y_train``, ``x_test``, ``y_test``; and MedMNIST's ``train_images``, ``train_labels``, ``test_images``,
``test_labels``. The latter two keep their split. Needs numpy only.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from algo.nets.data.files import DataError
from algo.support.user_files import reading

Part = tuple[NDArray[Any], NDArray[Any]]

RENUMBER = "number the classes with numpy.unique(labels, return_inverse=True)[1]"

_ADVICE = "save it with numpy.savez(path, images=..., labels=...)"
_CUSTOMS = (("x_{}", "y_{}"), ("{}_images", "{}_labels"))
_COLOUR_CHANNELS = (1, 3, 4)
_FEWEST_PIXELS = 5  # of a side, if channels may come last: a smaller side could itself be the channels


@dataclass(frozen=True)
class OwnData:
    """Images that a user brings, checked but not yet shifted and scaled.

    Attributes:
        parts: one that is not yet split, or two: for pre-training and for testing. Each has images
            (N, C, H, W), uint8 or floating point, and integer labels (N,), at least 0.
        class_names: names of the classes in the order of their labels; empty if they have only numbers.
    """

    parts: tuple[Part, ...]
    class_names: tuple[str, ...] = ()


def read_arrays(path: Path) -> OwnData:
    """Images and labels of an NPZ file.

    Validation images are left out, unless test images are missing: then they take their place.

    Raises:
        DataError: naming the file, the array and the next step.
    """
    with reading(path, "cannot read {}", _ADVICE, DataError):
        named = _unpacked(path)
    (first, _), (images, _) = next(iter(named.items()))
    for (name, _), (others, _) in named.items():
        if others.shape[1:] != images.shape[1:] or (others.dtype == np.uint8) != (images.dtype == np.uint8):
            raise DataError(
                f"{path} holds {first} {images.shape} of {images.dtype} and {name} {others.shape} of {others.dtype}: "
                "give both the same type, and the same shape except for the number of images"
            )
    return OwnData(tuple(_checked(path, *names, *part) for names, part in named.items()))


def check_memory(where: Path, images: int, shape: tuple[int, ...], item_bytes: int = 1) -> None:
    """Raise DataError if this machine's memory is too small for images that are not yet read.

    Args:
        where: the file or folder that they are in.
        images: how many there are.
        shape: of one of them.
        item_bytes: bytes of a value as it is read.
    """
    # At the peak: the images as read, their copies in two parts, and deviations in float64, or float32 twice.
    needed = images * math.prod(shape) * (2 * item_bytes + 8)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        size = "x".join(map(str, shape))
        raise DataError(
            f"{where} holds {images:,} images of {size} values, which take {needed / 1e9:,.1f} GB of memory; this "
            f"machine has {there / 1e9:,.1f} GB: give fewer or smaller images"
        )


def _unpacked(path: Path) -> dict[tuple[str, str], Part]:
    """Images and labels of each part, by their names; unpacked only if they are what their headers say."""
    with path.open("rb") as opened:
        begins = opened.read(32)
    if begins.startswith(b"\x93NUMPY"):
        raise ValueError("it is a single array, from numpy.save, in spite of its name")
    if not begins.startswith(b"PK"):
        page = " (a web page in place of the file: fetch the file itself)" * begins.lstrip().startswith(b"<")
        raise ValueError(f"it is not an NPZ file: it begins with {begins!r}{page}")
    with zipfile.ZipFile(path) as archive:
        names = _names([one.removesuffix(".npy") for one in archive.namelist()])
        headers = {name: _header(archive, name) for pair in names for name in pair}
        shapes, item_bytes = zip(*(headers[images] for images, _ in names), strict=True)
        check_memory(path, sum(shape[0] for shape in shapes if shape), shapes[0][1:], max(item_bytes))
        return {pair: (_read(archive, pair[0]), _read(archive, pair[1])) for pair in names}


def _names(held: Collection[str]) -> list[tuple[str, str]]:
    """Names of the images and labels of each part, in the naming scheme of the file."""
    customs = [[("images", "labels")]]
    for images, labels in _CUSTOMS:
        unseen = "val" if images.format("val") in held and images.format("test") not in held else "test"
        customs.append([(images.format(part), labels.format(part)) for part in ("train", unseen)])
    missing = [[name for pair in custom for name in pair if name not in held] for custom in customs]
    for custom, lacking in zip(customs, missing, strict=True):
        if not lacking:
            return custom
    # The scheme that the file follows except for one name; if none, the simplest.
    begun = [lacking for custom, lacking in zip(customs, missing, strict=True) if len(lacking) < 2 * len(custom)]
    wanted = min(begun, key=len, default=missing[0][:1])
    raise ValueError(f"it holds no {' and no '.join(wanted)}, but {', '.join(held) or 'nothing'}")


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], int]:
    """Shape of an array and bytes of an item; ValueError unless it holds numbers and is complete."""
    with archive.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = header(file)
    size, there = math.prod(shape) * kind.itemsize, archive.getinfo(f"{name}.npy").file_size
    if kind.hasobject:
        raise ValueError(f"its {name} are Python objects; make them an array of numbers")
    if size > there:
        raise ValueError(f"its {name} are damaged: {shape} of {kind} take {size:,} bytes, but it has {there:,}")
    return shape, kind.itemsize


def _read(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array


def _checked(path: Path, name: str, labels_name: str, images: NDArray[Any], labels: NDArray[Any]) -> Part:
    """Images (N, C, H, W) and labels (N,) of one part, checked as far as they can be before they are split.

    Args:
        path: the file.
        name: of the images in it.
        labels_name: of the labels in it.
        images: as they are there.
        labels: as they are there.
    """
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.shape[:1] == images.shape[:1]:
        raise DataError(
            f"{labels_name} in {path} are of shape {labels.shape}, not (N,): if a row has a 1 at its class, "
            f"save {labels_name}.argmax(1) instead"
        )
    shapes = f"{path} holds {name} {images.shape} and {labels_name} {labels.shape}"
    if labels.ndim == 2 and labels.shape[1] == 1:  # as in Keras and MedMNIST
        labels = labels[:, 0]
    if images.ndim not in (3, 4) or labels.ndim != 1:
        raise DataError(f"{shapes}, not (N, C, H, W), (N, H, W, C) or (N, H, W) and (N,) or (N, 1); {_ADVICE}")
    if 0 in images.shape:
        raise DataError(f"{shapes}: an axis of length 0 holds nothing; {_ADVICE}")
    if len(labels) != len(images):
        raise DataError(f"{shapes}: give as many labels as images; {_ADVICE}")
    images = _channels_second(path, name, images)
    _check_values(path, name, images)
    renumber = RENUMBER.replace("labels", labels_name)
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{labels_name} in {path} must be integers from 0, not {labels.dtype}; {renumber}")
    if labels.min() < 0:
        raise DataError(f"{labels_name} in {path} must be integers from 0, not {labels.min()}; {renumber}")
    return images, labels


def _channels_second(path: Path, name: str, images: NDArray[Any]) -> NDArray[Any]:
    """Images (N, H, W), (N, C, H, W) or (N, H, W, C) as (N, C, H, W).

    The channels are last if the last axis has 1, 3 or 4 entries and the two before it have more than 4: the last two
    would not make an image. Otherwise they are second, if they are no more than the pixels in a row or the image is
    square. Any other case is ambiguous and refused.
    """
    if images.ndim == 3:
        return images[:, None]
    _, one, two, three = images.shape
    if three in _COLOUR_CHANNELS and min(one, two) >= _FEWEST_PIXELS:
        # A copy makes the result the same to the last bit as from a file with the channels second.
        return np.ascontiguousarray(np.moveaxis(images, 3, 1))
    if one <= three or two == three:
        return images
    raise DataError(
        f"{name} in {path} are {images.shape}, which may be {one} channels of {two}x{three} pixels or {one}x{two} "
        f"pixels with {three} channels: if the channels are last, save numpy.transpose({name}, (0, 3, 1, 2)); "
        "if they are second, pad the images to squares"
    )


def _check_values(path: Path, name: str, images: NDArray[Any]) -> None:
    """Raise DataError unless the images are numbers that float32, which training computes in, can hold."""
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        real = np.issubdtype(images.dtype, np.integer) or images.dtype == np.bool_
        advice = f"convert them with {name}.astype(numpy.float32)" if real else _ADVICE
        raise DataError(f"{name} in {path} are {images.dtype}, not uint8 or floating point; {advice}")
    finite = np.isfinite(images)
    if not finite.all():
        number, *_ = np.argwhere(~finite)[0]
        without = f"{(~finite).any(tuple(range(1, images.ndim))).sum():,} of {len(images):,} images"
        raise DataError(
            f"{name} in {path} hold values that are not finite numbers ({without}, the first is image {number}); "
            "remove those images"
        )
    for value in (images.min(), images.max()):
        if abs(value) > np.finfo(np.float32).max:
            raise DataError(
                f"{name} in {path} reach {np.format_float_scientific(value, 2)}; training computes in float32, which "
                f"ends at {np.finfo(np.float32).max:.2g}: scale them, with {name} / abs({name}).max()"
            )
