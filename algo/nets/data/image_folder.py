"""A folder of images with one folder per class, with or without train and test folders around them.

Names of classes and files are sorted, and this order gives the labels and the split. Pillow reads the images and is
imported only then.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from algo.nets.data.files import DataError
from algo.nets.data.own_arrays import OwnData, Part, check_memory
from algo.support.user_files import reading

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # no others: some of Pillow's formats start programs
_TRAINING, _TEST, _VALIDATION = ("train", "training"), ("test", "testing"), ("val", "valid", "validation")
_LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # hidden where they come from
# Pillow's modes of images that have 8 bits per channel or fewer.
_GREY = ("1", "L", "LA", "La")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")


class _File(NamedTuple):
    """An image that is still to be decoded."""

    path: Path
    label: int


def read_folder(root: Path) -> OwnData:
    """Images of a folder: uint8 (N, 1, H, W) if all are grey, else (N, 3, H, W), without transparency.

    Args:
        root: has a folder for each class, or for each part of a split: ``train`` and ``test``, or ``val`` if
            ``test`` is missing; these must have the same folders of classes.

    Raises:
        DataError: naming the file or folder, what is wrong with it, and the next step.
        OSError: for what cannot be opened.
    """
    parts = _parts(root)
    names = [folder.name for folder in _classes(parts[0])]
    for part in parts[1:]:
        _check_same_classes(parts[0], names, part)
    files = [
        [_File(path, label) for label, name in enumerate(names) for path in _images(part / name)] for part in parts
    ]
    shape = _common_shape(root, [file.path for part in files for file in part])
    return OwnData(tuple(_decoded(part, shape) for part in files), tuple(names))


def _parts(root: Path) -> list[Path]:
    """The folder itself, if it has no split, or its folders to train on and to test with."""
    folders = _folders(root)
    parts = [[one for one in folders if one.name.lower() in names] for names in (_TRAINING, _TEST, _VALIDATION)]
    training, test, validation = parts
    if not training or sum(map(len, parts)) < len(folders):
        return [root]
    for several in parts:
        if len(several) > 1:
            raise DataError(f"{root} has {several[0].name} and {several[1].name}, which are the same part: leave one")
    if not test and not validation:
        raise DataError(
            f"{root} has {training[0].name} but no test and no val: add one, or name {training[0]}, which is then split"
        )
    return [training[0], (test or validation)[0]]


def _content(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, sorted by name."""
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() not in _LITTER
    )


def _folders(place: Path) -> list[Path]:
    """Folders in a folder; files beside them that are not images, such as a README, are ignored."""
    for path in _content(place):
        if path.suffix.lower() in SUFFIXES and not path.is_dir():
            raise DataError(
                f"{path} is not in the folder of a class: put the images of each class into a folder of their own"
            )
    return [path for path in _content(place) if path.is_dir()]


def _classes(part: Path) -> list[Path]:
    """Folders of the classes, at least two."""
    found = _folders(part)
    if len(found) < 2:
        there = f"only one folder ({found[0].name})" if found else "no folder"
        raise DataError(f"{part} has {there} in it: at least two are needed, one subfolder of images per class")
    return found


def _check_same_classes(training: Path, names: Sequence[str], other: Path) -> None:
    there = [folder.name for folder in _classes(other)]
    for name in sorted(set(names) ^ set(there)):
        lacks, has = (other, training) if name in names else (training, other)
        raise DataError(
            f"{lacks} has no folder {name}, as {has} has: give both the same classes, each with images, or leave it out"
        )


def _images(folder: Path) -> list[Path]:
    """Files of one class."""
    found = _content(folder)
    if not found:
        raise DataError(f"{folder} holds no image: put some into it, or remove it")
    for path in found:
        if path.is_dir():
            raise DataError(
                f"{path} is a folder, but images of class {folder.name} are expected here; give --data the folder that "
                "holds the class folders, or one with train and test folders that hold them"
            )
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"{path} is not an image in a known format ({', '.join(SUFFIXES)}): move it away, or convert it"
            )
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """An image whose header has been read; whatever is wrong with it becomes an error that names it."""
    from PIL import Image, UnidentifiedImageError

    with reading(path, "cannot read {}", "replace it or remove it", DataError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about oddities that it can read
        if path.exists() and not path.is_file():  # to open a pipe would wait for ever
            raise ValueError("it is not a file")
        try:
            with Image.open(path, formats=_FORMATS) as image:
                yield image
        except UnidentifiedImageError:
            what = "it is damaged, or not an image in spite of its name" if path.stat().st_size else "it is empty"
            raise ValueError(what) from None
        except Image.DecompressionBombError:
            raise ValueError(f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from None


def _common_shape(root: Path, paths: Sequence[Path]) -> tuple[int, int, int]:
    """Channels, height and width of all images, by their headers; DataError unless they are of one size and fit."""
    first, channels = (0, 0), 1
    for path in paths:
        with _opened(path) as image:
            size, mode = image.size, image.mode
        first = first if any(first) else size
        if size != first:
            raise DataError(
                f"{path} has {size[0]}x{size[1]} pixels (width x height), and {paths[0]} has {first[0]}x{first[1]}: "
                "scale or crop all images to one size"
            )
        if mode not in _GREY + _COLOUR:
            raise DataError(
                f"{path} has more than 8 bits per channel (mode {mode}): save 8 bits, or give an .npz file of arrays"
            )
        channels = 1 if channels == 1 and mode in _GREY else 3
    shape = channels, first[1], first[0]
    check_memory(root, len(paths), shape)
    return shape


def _decoded(files: Sequence[_File], shape: tuple[int, int, int]) -> Part:
    images: NDArray[np.uint8] = np.empty((len(files), *shape), np.uint8)
    for place, file in zip(images, files, strict=True):
        with _opened(file.path) as image:
            # Height, width and, of colour images, channels.
            pixels = np.asarray(image.convert("L" if len(place) == 1 else "RGB"))
            place[...] = np.moveaxis(pixels.reshape(*shape[1:], len(place)), 2, 0)
    return images, np.array([file.label for file in files], np.int64)
