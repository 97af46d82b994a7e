"""Find files of public data sets, fetch them with a checksum, and read them without trusting them."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import pickle
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from algo.support.user_files import reading

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]

_TIMEOUT_S = 30
_CHUNK = 1 << 20

# SHA-256 of the files as their authors publish them.
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FASHION = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist

_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
_CIFAR = {
    "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
}


class DataError(ValueError):
    """Data that are missing or cannot be used; says which file or value, what is allowed and what to do."""


#: What `reading` says of a file of a public data set.
_DAMAGED = ("damaged file {}", "remove it and fetch it again", DataError)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(url: str, path: Path, checksum: str) -> Path:
    """Download a file unless it is there already, and check it.

    An interrupted download stays beside the file as ``.part``; the next call asks the server for the rest. The file
    itself appears only when it is complete and its checksum is right.

    Args:
        url: http or https address.
        path: of the file; its folder is made if missing.
        checksum: hexadecimal SHA-256 of the content.

    Raises:
        DataError: if the file cannot be fetched, or its checksum is wrong: it is removed then.
    """
    if path.exists():
        if sha256(path) == checksum:
            return path
        path.unlink()  # damaged since it was fetched: fetch it again
    part = path.with_name(path.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(
            f"cannot download {url}: {error}; try again where there is a network, "
            f"or put {path.name} into a folder and name that folder"
        ) from error
    found = sha256(part)
    if found != checksum:
        part.unlink()
        raise DataError(
            f"{url} has SHA-256 {found}, not {checksum}: it was damaged on the way or is another file; "
            "it was removed, so try again, or name a folder that holds the original"
        )
    part.replace(path)
    return path


def _download(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to fetch; the checksum shows whether it is right
            return
        raise
    with response:
        expected = response.headers.get("Content-Length")
        received = 0
        with part.open("ab" if response.status == 206 else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                received += len(chunk)
    if expected is not None and received < int(expected):
        raise OSError(f"the connection ended after {received} of {expected} bytes")


def fashion_mnist(
    folder: Path | None, cache: Path, base_url: str | None, checksums: Mapping[str, str] | None
) -> tuple[Part, Part]:
    """Fashion-MNIST's training and test part: images uint8 (N, 1, 32, 32), as padded, and labels 0..9.

    Read from ``folder``; without one, from Debian's package if installed (unless an address is given),
    else downloaded into ``cache``. Raises DataError.
    """
    paths = {}
    if folder is None and base_url is None and DEBIAN_FASHION.is_dir():
        folder = DEBIAN_FASHION
    for name, checksum in {**_FASHION, **(checksums or {})}.items():
        if folder is not None:
            # No checksum, because Debian compresses the content again. Reading checks length and gzip's CRC.
            paths[name] = folder / name
        else:
            url = (base_url or _FASHION_URL).rstrip("/") + "/" + name
            paths[name] = fetch(url, cache / "fashion-mnist" / name, checksum)
    parts = []
    for prefix in ("train", "t10k"):
        images = read_idx(paths[f"{prefix}-images-idx3-ubyte.gz"], dimensions=3)
        labels = read_idx(paths[f"{prefix}-labels-idx1-ubyte.gz"], dimensions=1)
        where = paths[f"{prefix}-images-idx3-ubyte.gz"]
        if images.shape[1:] != (28, 28):
            raise _damaged(where, f"its images are {images.shape[1:]} pixels, not (28, 28)")
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None]
        parts.append((images, _labels(paths[f"{prefix}-labels-idx1-ubyte.gz"], labels, len(images), 10)))
    return parts[0], parts[1]


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Array of unsigned bytes from a gzipped IDX file; raises DataError if it is missing or damaged."""
    if not path.is_file():
        raise DataError(f"{path} is missing: name the folder that holds {path.name}")
    with reading(path, *_DAMAGED), gzip.open(path, "rb") as file:
        content = file.read()
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, 8, dimensions)):
        raise _damaged(path, f"it does not start as an IDX file of bytes in {dimensions} dimensions")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dimensions, 4))
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise _damaged(path, f"it unpacks to {len(content)} bytes, but its header announces {expected}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def cifar(
    name: str, folder: Path | None, cache: Path, base_url: str | None, checksums: Mapping[str, str] | None
) -> tuple[Part, Part]:
    """The training and test part of ``cifar10`` or ``cifar100``: images uint8 (N, 3, 32, 32) and labels.

    Read from the standard archive for Python in ``folder``, else downloaded into ``cache``. The checksum is
    compared before anything is unpacked. CIFAR-100's labels are its 100 fine ones. Raises DataError.
    """
    ten = name == "cifar10"
    archive = "cifar-10-python.tar.gz" if ten else "cifar-100-python.tar.gz"
    checksum = {**_CIFAR, **(checksums or {})}[archive]
    if folder is not None:
        path = folder / archive
        if not path.is_file():
            raise DataError(f"{path} is missing: name the folder that holds {archive}")
        found = sha256(path)
        if found != checksum:
            raise _damaged(path, f"its SHA-256 is {found}, not {checksum}")
    else:
        path = fetch((base_url or _CIFAR_URL).rstrip("/") + "/" + archive, cache / archive, checksum)
    base = archive.removesuffix("-python.tar.gz")
    inside = "cifar-10-batches-py" if ten else f"{base}-python"
    members = [[f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]] if ten else [["train"], ["test"]]
    key, classes = ("labels", 10) if ten else ("fine_labels", 100)
    parts = []
    with reading(path, *_DAMAGED), tarfile.open(path, "r:gz") as packed:
        for names in members:
            batches = [_cifar_batch(path, packed, f"{inside}/{n}", key, classes) for n in names]
            images, labels = zip(*batches, strict=True)
            parts.append((np.concatenate(images), np.concatenate(labels)))
    return parts[0], parts[1]


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and plain containers; refuses to import anything else."""

    _allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        # The function that an array names as its maker, under the module's current and former name.
        ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no image archive needs") from None


def _cifar_batch(path: Path, packed: tarfile.TarFile, member: str, key: str, classes: int) -> Part:
    try:
        file: IO[bytes] | None = packed.extractfile(member)  # read in memory: nothing is written to disk
    except KeyError:
        file = None
    if file is None:
        raise _damaged(path, f"it holds no file {member}")
    with reading(path, f"damaged file {{}}: cannot read {member}", *_DAMAGED[1:]):
        content = _ArrayUnpickler(file, encoding="bytes").load()
        images = content[b"data"]
        labels = np.asarray(content[key.encode()])
        fits = images.dtype == np.uint8 and images.ndim == 2 and images.shape[1] == 3072
    if not fits:
        raise _damaged(path, f"{member} holds images of {images.dtype} {images.shape}, not uint8 (N, 3072)")
    return images.reshape(-1, 3, 32, 32), _labels(path, labels, len(images), classes)


def _labels(path: Path, labels: NDArray[Any], images: int, classes: int) -> NDArray[np.int64]:
    if labels.shape != (images,):
        raise _damaged(path, f"it has labels of shape {labels.shape} for {images} images")
    if not np.issubdtype(labels.dtype, np.integer) or not images or labels.min() < 0 or labels.max() >= classes:
        raise _damaged(path, f"its labels are not all integers in 0..{classes - 1}")
    return labels.astype(np.int64)


def _damaged(path: Path, what: str) -> DataError:
    problem, advice, kind = _DAMAGED
    return kind(f"{problem.format(path)}: {what}; {advice}")


#: Takes the folder of the files, the cache, an address and checksums instead of the data set's own.
Reader = Callable[[Path | None, Path, str | None, Mapping[str, str] | None], tuple[Part, Part]]

#: By name: what reads a data set, and its number of classes.
READERS: Mapping[str, tuple[Reader, int]] = {
    "fashion-mnist": (fashion_mnist, 10),
    "cifar10": (partial(cifar, "cifar10"), 10),
    "cifar100": (partial(cifar, "cifar100"), 100),
}
