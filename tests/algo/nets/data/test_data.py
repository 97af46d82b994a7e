from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import io
import pickle
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.nets.data import files as data_files
from algo.nets.data.datasets import DataError, Dataset, load_dataset, local_private_set
from algo.nets.data.files import DEBIAN_FASHION, fetch
from algo.nets.data.names import DATASETS
from sim.files import write_atomically
from tests.require import require_path

DIGITS = load_dataset("digits")


# --- files to read, made small -----------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes((0, 0, 8, array.ndim)) + shape + array.astype(np.uint8).tobytes()


def fashion_files(train: int = 30, test: int = 12) -> dict[str, bytes]:
    generator = np.random.default_rng(0)
    files = {}
    for prefix, count in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (count, 28, 28))
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(idx(images))
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(count) % 10))
    return files


def cifar_archive(name: str, change: Callable[[dict[bytes, Any]], object] = lambda batch: batch) -> bytes:
    generator = np.random.default_rng(0)
    if name == "cifar10":
        members, key, classes = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], b"labels", 10
        folder = "cifar-10-batches-py"
    else:
        members, key, classes, folder = ["train", "test"], b"fine_labels", 100, "cifar-100-python"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for member in members:
            images = generator.integers(0, 256, (20, 3072)).astype(np.uint8)
            batch = {b"data": images, key: generator.integers(0, classes, 20).tolist()}
            content = pickle.dumps(change(batch), protocol=4)
            info = tarfile.TarInfo(f"{folder}/{member}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def sums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; ``cut`` ends the next answers early, ``asked`` records path and range."""

    files: dict[str, bytes]
    cut: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked = {}, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(content):
            self.send_error(416)
            return
        rest = content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


# --- digits and the local set ------------------------------------------------------------------------------


def test_digits_are_1797_normalised_images_of_32_by_32() -> None:
    assert DIGITS.train_images.shape == (998, 1, 32, 32)
    assert DIGITS.test_images.shape == (799, 1, 32, 32)
    assert DIGITS.train_images.dtype == np.float32
    assert DIGITS.train_images.mean() == pytest.approx(0, abs=1e-4)
    assert DIGITS.train_images.std() == pytest.approx(1, abs=1e-4)
    labels = np.concatenate([DIGITS.train_labels, DIGITS.test_labels])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert DIGITS.digest() == load_dataset("digits").digest()


def test_no_digit_is_in_both_parts() -> None:
    train = {image.tobytes() for image in DIGITS.train_images}
    assert not train & {image.tobytes() for image in DIGITS.test_images}


def test_digits_keep_their_picture_when_enlarged() -> None:
    # The mean of each 4x4 block must follow the small pixel it came from: bilinear, not shuffled.
    blocks = DIGITS.train_images.reshape(-1, 8, 4, 8, 4).mean((2, 4))
    nearest = DIGITS.train_images[:, 0, 2::4, 2::4]
    assert np.corrcoef(blocks.ravel(), nearest.ravel())[0, 1] > 0.97
    steps = np.abs(np.diff(DIGITS.train_images, axis=3)).max()
    assert steps < 0.3 * np.ptp(DIGITS.train_images)


def test_data_other_than_the_published_say_so() -> None:
    assert DIGITS.description == "digits (not the published CIFAR-100)"
    assert local_private_set(DIGITS).source == DIGITS.description


@settings(max_examples=25)
@given(st.integers(12, 799), st.floats(0, 4), st.integers(0, 2**32))
def test_local_set_is_part_of_the_unseen_images_with_noise(size: int, noise: float, seed: int) -> None:
    local = local_private_set(DIGITS, size, noise, seed)
    assert (len(local.train_images), len(local.test_images)) == (size * 5 // 6, size - size * 5 // 6)
    clean = local_private_set(DIGITS, size, 0, seed)
    unseen = {image.tobytes() for image in DIGITS.test_images}
    drawn = [image.tobytes() for image in np.concatenate([clean.train_images, clean.test_images])]
    assert set(drawn) <= unseen
    assert len(set(drawn)) == size
    assert np.array_equal(local.train_labels, clean.train_labels)
    added = local.train_images - clean.train_images
    assert added.std() == pytest.approx(noise, rel=0.05)
    assert local.digest() == local_private_set(DIGITS, size, noise, seed).digest()
    assert local.digest() != local_private_set(DIGITS, size, noise, seed + 1).digest()


def test_local_set_of_the_digits_has_600_images() -> None:
    local = local_private_set(DIGITS)
    assert (len(local.train_images), len(local.test_images), local.noise_std) == (500, 100, 1.5)
    assert local.train_images.dtype == np.float32


def test_local_set_of_other_data_has_the_published_6000() -> None:
    images, labels = np.zeros((7000, 1, 1, 1), np.float32), np.zeros(7000, np.int64)
    local = local_private_set(Dataset("cifar100", images, labels, images, labels, 100))
    assert (len(local.train_images), len(local.test_images)) == (5000, 1000)
    assert local.source == "cifar100"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 800}, r"local set of digits can have 12\.\.799 images, not 800"),
        ({"size": 11}, r"12\.\.799 images, not 11"),
        (
            {"noise_std": -0.1},
            r"\(--noise-std\) must be in 0\.\.100 \(normalised images have 1\), not -0.1; the default is 1.5",
        ),
        ({"noise_std": float("nan")}, r"must be in 0\.\.100 .* not nan"),
        ({"noise_std": 1e38}, r"must be in 0\.\.100 .* not 1e\+38"),
        ({"seed": -1}, "seed of the local set must be at least 0, not -1"),
    ],
)
def test_local_set_names_what_is_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        local_private_set(DIGITS, **arguments)


def test_an_unknown_data_set_lists_those_there_are() -> None:
    with pytest.raises(DataError) as caught:
        load_dataset("mnist")
    assert all(name in str(caught.value) for name in ("'mnist'", *DATASETS, ".npz"))
    assert set(DATASETS) == {"digits", *data_files.READERS}


# --- Fashion-MNIST -----------------------------------------------------------------------------------------


def test_debians_fashion_mnist_is_read_whole() -> None:
    require_path(DEBIAN_FASHION, "dataset-fashion-mnist")
    dataset = load_dataset("fashion-mnist")
    assert dataset.train_images.shape == (60_000, 1, 32, 32)
    assert dataset.test_images.shape == (10_000, 1, 32, 32)
    assert np.bincount(dataset.train_labels).tolist() == [6000] * 10
    assert np.bincount(dataset.test_labels).tolist() == [1000] * 10


def test_fashion_mnist_from_a_folder_is_padded_with_background(tmp_path: Path) -> None:
    dataset = load_dataset("fashion-mnist", folder=write(tmp_path, fashion_files()))
    assert dataset.train_images.shape == (30, 1, 32, 32)
    assert dataset.test_labels.tolist() == [n % 10 for n in range(12)]
    border = dataset.train_images[:, :, [0, 1, -2, -1]]
    assert np.all(border == dataset.train_images.min())


@pytest.mark.parametrize("name", sorted(fashion_files()))
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "short", "not gzip"])
def test_a_damaged_fashion_mnist_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    folder = write(tmp_path, fashion_files())
    content = (folder / name).read_bytes()
    changed = {
        "cut": content[:-20],
        "flipped": content[:-6] + bytes([content[-6] ^ 255]) + content[-5:],
        "short": gzip.compress(gzip.decompress(content)[:-1]),
        "not gzip": b"<html>not found</html>",
    }
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(changed[damage])
    with pytest.raises(DataError) as caught:
        load_dataset("fashion-mnist", folder=folder)
    assert str(folder / name) in str(caught.value)
    assert ("missing" if damage == "missing" else "damaged") in str(caught.value)


def test_labels_that_do_not_fit_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path, fashion_files())
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(29))))
    with pytest.raises(DataError, match=r"labels of shape \(29,\) for 30 images"):
        load_dataset("fashion-mnist", folder=folder)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.full(30, 10))))
    with pytest.raises(DataError, match=r"not all integers in 0\.\.9"):
        load_dataset("fashion-mnist", folder=folder)


# --- downloads ---------------------------------------------------------------------------------------------


def test_fashion_mnist_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    server.files = fashion_files()
    arguments: dict[str, Any] = {
        "cache_dir": tmp_path,
        "base_url": server.url,
        "checksums": sums(server.files),
    }
    first = load_dataset("fashion-mnist", **arguments)
    assert len(server.asked) == 4
    assert first.digest() == load_dataset("fashion-mnist", **arguments).digest()
    assert len(server.asked) == 4
    assert sorted(p.name for p in (tmp_path / "fashion-mnist").iterdir()) == sorted(server.files)


def test_a_file_with_another_checksum_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    server.files = fashion_files()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz has SHA-256 .*, not 3aede38d"):
        load_dataset("fashion-mnist", cache_dir=tmp_path, base_url=server.url)
    assert not list((tmp_path / "fashion-mnist").iterdir())


def test_an_interrupted_download_resumes_where_it_ended(server: Server, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    server.files, server.cut = {"file": content}, 1000
    checksum = hashlib.sha256(content).hexdigest()
    path = tmp_path / "deep" / "file"
    with pytest.raises(DataError, match=r"1000 of 10240 bytes|IncompleteRead"):
        fetch(server.url + "file", path, checksum)
    assert not path.exists()
    server.cut = None
    assert fetch(server.url + "file", path, checksum).read_bytes() == content
    assert server.asked == [("/file", None), ("/file", "bytes=1000-")]
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_whole_part_file_needs_no_more_bytes(server: Server, tmp_path: Path) -> None:
    server.files = {"file": b"whole"}
    (tmp_path / "file.part").write_bytes(b"whole")
    checksum = hashlib.sha256(b"whole").hexdigest()
    assert fetch(server.url + "file", tmp_path / "file", checksum).read_bytes() == b"whole"


def test_a_cached_file_that_was_damaged_is_fetched_again(server: Server, tmp_path: Path) -> None:
    server.files = {"file": b"right"}
    (tmp_path / "file").write_bytes(b"wrong")
    checksum = hashlib.sha256(b"right").hexdigest()
    assert fetch(server.url + "file", tmp_path / "file", checksum).read_bytes() == b"right"


def test_a_server_without_the_file_or_no_server_tells_the_next_step(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot download .*gone: HTTP Error 404.*name that folder"):
        fetch(server.url + "gone", tmp_path / "gone", "0")
    with pytest.raises(DataError, match=r"cannot download http://127.0.0.1:1/x"):
        fetch("http://127.0.0.1:1/x", tmp_path / "x", "0")


# --- CIFAR -------------------------------------------------------------------------------------------------

ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


@pytest.mark.parametrize(("name", "train", "classes"), [("cifar10", 100, 10), ("cifar100", 20, 100)])
def test_cifar_is_read_from_its_archive(tmp_path: Path, name: str, train: int, classes: int) -> None:
    files = {ARCHIVES[name]: cifar_archive(name)}
    dataset = load_dataset(name, folder=write(tmp_path, files), checksums=sums(files))
    assert dataset.train_images.shape == (train, 3, 32, 32)
    assert dataset.test_images.shape == (20, 3, 32, 32)
    assert dataset.classes == classes
    assert dataset.published is (name == "cifar100")
    assert np.allclose(dataset.train_images.mean((0, 2, 3)), 0, atol=1e-4)
    assert np.allclose(dataset.train_images.std((0, 2, 3)), 1, atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == [ARCHIVES[name]]  # nothing unpacked


def test_cifar_is_downloaded(server: Server, tmp_path: Path) -> None:
    server.files = {ARCHIVES["cifar10"]: cifar_archive("cifar10")}
    dataset = load_dataset("cifar10", None, tmp_path, server.url, sums(server.files))
    assert dataset.train_labels.shape == (100,)


def test_cifar_with_another_checksum_is_not_opened(tmp_path: Path) -> None:
    files = {ARCHIVES["cifar10"]: b"anything"}
    with pytest.raises(DataError, match=r"damaged file .*cifar-10-python.tar.gz: its SHA-256 is .*, not 6d958be0"):
        load_dataset("cifar10", folder=write(tmp_path, files))


def test_a_missing_cifar_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar-100-python.tar.gz is missing"):
        load_dataset("cifar100", folder=tmp_path)


class Malicious:
    ran = False

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("import tests.algo.nets.data.test_data as t; t.Malicious.ran = True",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: Malicious(), r"asks for builtins\.exec"),
        (
            lambda batch: {b"fine_labels": batch[b"fine_labels"]},
            "cannot read cifar-100-python/train: it has no b'data'",
        ),
        (lambda batch: batch | {b"data": batch[b"data"][:, :5]}, r"holds images of uint8 \(20, 5\)"),
        (lambda batch: batch | {b"fine_labels": [100] * 20}, r"not all integers in 0\.\.99"),
        (lambda batch: batch | {b"fine_labels": [1] * 19}, r"labels of shape \(19,\) for 20 images"),
    ],
)
def test_a_cifar_archive_is_not_trusted(
    tmp_path: Path, change: Callable[[dict[bytes, Any]], object], message: str
) -> None:
    files = {ARCHIVES["cifar100"]: cifar_archive("cifar100", change)}
    with pytest.raises(DataError, match=message):
        load_dataset("cifar100", folder=write(tmp_path, files), checksums=sums(files))
    assert not Malicious.ran


def test_a_cut_or_foreign_cifar_archive_is_named(tmp_path: Path) -> None:
    for content in (cifar_archive("cifar100")[:5000], b"no archive", cifar_archive("cifar10")):
        files = {ARCHIVES["cifar100"]: content}
        with pytest.raises(DataError, match=r"damaged file .*cifar-100-python.tar.gz"):
            load_dataset("cifar100", folder=write(tmp_path, files), checksums=sums(files))


def test_python_2_pickles_name_arrays_by_numpys_former_path() -> None:
    allowed = data_files._ArrayUnpickler._allowed
    assert ("numpy.core.multiarray", "_reconstruct") in allowed
    assert not any(module in ("os", "builtins", "posix", "subprocess") for module, _ in allowed)


# --- NPZ files ---------------------------------------------------------------------------------------------


def save(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("shape", [(90, 2, 8, 8), (90, 8, 8)])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_own_images_are_split_and_normalised(tmp_path: Path, shape: tuple[int, ...], kind: type) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    name = save(tmp_path / "own.npz", images=images, labels=np.arange(90, dtype=np.int32) % 3)
    dataset = load_dataset(name)
    assert dataset.name == name
    assert dataset.train_images.shape == (50, shape[1] if len(shape) == 4 else 1, 8, 8)
    assert len(dataset.test_images) == 40
    assert dataset.train_images.dtype == np.float32
    assert dataset.train_images.std() == pytest.approx(1, abs=1e-3)
    assert dataset.classes == 3


NOISE = np.random.default_rng(0).normal(size=(90, 2, 2))
FINE = {"images": np.arange(90 * 4, dtype=np.uint8).reshape(90, 2, 2), "labels": np.arange(90) % 3}
ORDER = np.random.default_rng(0).permutation(90)  # the first 50 are for pre-training


def lit(image: int, by: float) -> np.ndarray:
    """Images of noise, with one pixel of one of them brighter."""
    images = NOISE.copy()
    images[image, 0, 0] += by
    return images


def labelled(some: Any, label: int, kind: type = np.int64) -> np.ndarray:
    """Labels 0 and 1, and another one of some images."""
    labels = np.arange(90).astype(kind) % kind(2)
    labels[some] = label
    return labels


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.arange(89)}, r"images \(90, 2, 2\) and labels \(89,\): give as many labels as images"),
        ({"images": np.zeros((90, 4), np.uint8)}, r"images \(90, 4\)"),
        ({"images": np.array(1.0), "labels": np.eye(3)}, r"images \(\) and labels \(3, 3\)"),
        ({"images": np.zeros((90, 0, 4))}, r"images \(90, 0, 4\) .*: an axis of length 0 holds nothing"),
        ({"images": np.zeros((0, 4, 4)), "labels": np.zeros(0, int)}, r"images \(0, 4, 4\) .* an axis of length 0"),
        ({"images": NOISE[:26], "labels": np.arange(26) % 2}, "holds 26 images; at least 27 are needed"),
        ({"images": np.zeros((90, 64, 64, 13))}, r"images in .* are \(90, 64, 64, 13\), which may be 64 channels of "
         r"64x13 pixels or 64x64 pixels with 13 channels: .*numpy\.transpose\(images, \(0, 3, 1, 2\)\); .* pad"),
        ({"images": np.zeros((90, 4, 8, 3))}, "may be 4 channels of 8x3 pixels or 4x8 pixels with 3 channels"),
        ({"images": np.zeros((90, 8, 4, 3))}, "may be 8 channels of 4x3 pixels or 8x4 pixels with 3 channels"),
        ({"images": np.zeros((90, 2, 2), np.int64)}, r"are int64, not uint8 or floating point; .*astype"),
        ({"images": np.zeros((90, 2, 2), bool)}, r"are bool, not uint8 or floating point; .*astype"),
        ({"images": np.zeros((90, 2, 2), complex)}, "are complex128, not uint8 or floating point"),
        ({"images": np.full((90, 2, 2), "a")}, "are <U1, not uint8 or floating point"),
        ({"images": np.zeros((90, 2, 2), "M8[s]")}, r"are datetime64\[s\], not uint8"),
        ({"images": np.zeros(90, [("x", "f4", (2, 2))])}, r"images \(90,\)"),
        ({"images": np.full((90, 2, 2), {})}, "its images are Python objects; make them an array of numbers"),
        ({"images": lit(7, np.inf)}, r"not finite.*\(1 of 90 images, the first is image 7\)"),
        ({"images": np.full((90, 2, 2), np.nan)}, "not finite"),
        ({"images": np.zeros((90, 2, 2))}, "every pixel of a channel has the same value"),
        ({"images": np.stack([NOISE, np.ones_like(NOISE)], 1)}, "same value.*channel 1"),
        ({"images": NOISE * 1e39}, r"reach -?\d\.\d+e\+39; training computes in float32.*3.4e\+38: scale them"),
        ({"images": NOISE.astype(np.longdouble) * np.longdouble("1e400")}, r"reach .*e\+400; training"),
        ({"images": NOISE * 1e38}, "cannot tell them apart|reach"),
        ({"images": NOISE * 1e-60}, "every pixel of a channel has the same value, as far as float32 can tell"),
        ({"images": NOISE + 1e9}, r"values from 99999999\d.*deviation of .*; training computes in float32"),
        ({"images": NOISE + 1e7}, r"values from 999999\d.*deviation of .*; training computes in float32"),
        ({"images": np.repeat(NOISE[:1], 90, 0)}, "nine in ten images are within .* of one and the same image"),
        ({"images": lit(ORDER[0], 1e7)}, "nine in ten images are within .* of one and the same image"),
        ({"images": lit(ORDER[-1], 1e9)}, "an image for testing has a pixel .*e\\+08 standard"),
        ({"labels": np.full(90, -1)}, r"integers from 0, not -1; number the classes with numpy\.unique"),
        ({"labels": np.zeros(90, int)}, "at least two classes, and all are 0"),
        ({"labels": np.ones(90, int)}, "at least two classes, and all are 1"),
        ({"labels": labelled([4], 3_000_000)}, "to 3000000, but 2,999,998 .*: 2, 3, 4, 5, 6 and 2,999,993 more"),
        ({"labels": np.arange(90) % 3 * 2}, "2 of these 5 classes have no image: 1, 3; number"),
        ({"labels": labelled([4], 2**64 - 1, np.uint64)}, "go up to 18446744073709551615"),
        ({"labels": labelled(ORDER[-2:], 2)}, "50 are drawn for pre-training, and none is of class 2: add"),
        ({"labels": labelled(ORDER[:2], 2)}, "40 are drawn for testing, and none is of class 2: add"),
        ({"labels": np.arange(90)}, r"none is of class \d+, \d+, \d+, \d+, \d+ and 35 more"),
        ({"labels": np.arange(90) / 2}, "must be integers from 0, not float64; number"),
        ({"labels": np.arange(90) % 2 == 0}, "must be integers from 0, not bool; number"),
        ({"labels": np.full(90, "cat")}, "must be integers from 0, not <U3; number"),
        ({"labels": np.zeros(90, complex)}, "must be integers from 0, not complex128"),
        ({"labels": np.eye(3)[np.arange(90) % 3]}, r"labels .*\(90, 3\), not \(N,\): .* labels.argmax\(1\)"),
        ({"labels": np.array([{}] * 90)}, "cannot read .*own.npz: its labels are Python objects"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_unsuitable_own_images_are_named(tmp_path: Path, changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(save(tmp_path / "own.npz", **(FINE | changed)))
    assert str(tmp_path / "own.npz") in str(caught.value)


@settings(max_examples=60)
@given(
    st.sampled_from([np.uint8, np.float16, np.float32, np.float64, np.longdouble]),
    st.floats(-60, 60),
    st.floats(-1e12, 1e12),
    st.integers(0, 2**32),
)
def test_own_images_are_refused_or_seen_as_they_are(kind: type, power: float, offset: float, seed: int) -> None:
    """What training sees is the file's images, shifted and scaled, to a hundredth of a standard deviation."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"), tempfile.TemporaryDirectory() as folder:
        images = (rng.normal(size=(90, 3, 3)) * 10.0**power + offset).astype(kind)
        name = save(Path(folder) / "own.npz", images=images, labels=np.arange(90) % 3)
        try:
            dataset = load_dataset(name)
        except DataError as error:
            assert name in str(error)
            return
    order = np.random.default_rng(0).permutation(90)
    exact = images[order[:50]].astype(np.float64)
    exact = (exact - exact.mean()) / exact.std()
    assert np.sqrt(np.mean((dataset.train_images[:, 0] - exact) ** 2)) <= 0.01
    assert np.abs(dataset.train_images.std() - 1) < 0.02 and np.isfinite(dataset.test_images).all()


@settings(max_examples=30)
@given(st.sampled_from([1, 3, 4]), st.integers(5, 9), st.integers(5, 9), st.sampled_from([np.uint8, np.float32]))
def test_images_with_the_channels_last_are_the_same_as_with_them_second(
    channels: int, height: int, width: int, kind: type
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, channels, height, width)).astype(kind)
    with tempfile.TemporaryDirectory() as folder:
        last = images.transpose(0, 2, 3, 1)
        second = load_dataset(save(Path(folder) / "own.npz", images=images, labels=FINE["labels"]))
        dataset = load_dataset(save(Path(folder) / "own.npz", images=last, labels=FINE["labels"]))
    assert dataset.train_images.shape == (50, channels, height, width)
    assert dataset.digest() == second.digest()


@pytest.mark.parametrize("shape", [(2, 8, 8), (3, 8, 3), (64, 8, 8), (5, 4, 4), (16, 8, 40), (13, 64, 64), (8, 8, 8)])
def test_images_of_other_shapes_have_their_channels_second(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, *shape)).astype(np.uint8)
    dataset = load_dataset(save(tmp_path / "own.npz", images=images, labels=FINE["labels"]))
    assert dataset.train_images.shape == (50, *shape)


def test_labels_may_be_a_column(tmp_path: Path) -> None:
    row = load_dataset(save(tmp_path / "own.npz", images=NOISE, labels=FINE["labels"]))
    column = load_dataset(save(tmp_path / "own.npz", images=NOISE, labels=FINE["labels"][:, None]))
    assert row.digest() == column.digest()


KERAS, MEDMNIST = ("x_{}", "y_{}"), ("{}_images", "{}_labels")


def in_parts(custom: tuple[str, str], **counts: int) -> dict[str, np.ndarray]:
    """Arrays of colour images, channels last, by Keras's or MedMNIST's names; the images are sorted by class."""
    arrays = {}
    for number, (part, count) in enumerate(counts.items()):
        arrays[custom[0].format(part)] = np.random.default_rng(number).integers(0, 256, (count, 8, 9, 3), np.uint8)
        arrays[custom[1].format(part)] = np.sort(np.arange(count, dtype=np.uint8) % 3)[:, None]
    return arrays


def unscaled(dataset: Dataset, part: str, given: np.ndarray) -> np.ndarray:
    """Images of a part of a data set as they were in the file, whose training images are given."""
    images = getattr(dataset, f"{part}_images").transpose(0, 2, 3, 1)
    restored: np.ndarray = np.rint(images * given.std((0, 1, 2)) + given.mean((0, 1, 2))).astype(np.uint8)
    return restored


@pytest.mark.parametrize("custom", [KERAS, MEDMNIST])
@pytest.mark.parametrize("unseen", ["test", "val"])
def test_files_with_a_split_keep_it(tmp_path: Path, custom: tuple[str, str], unseen: str) -> None:
    arrays = in_parts(custom, train=40, **{unseen: 15})
    name = save(tmp_path / "own.npz", **arrays)
    dataset = load_dataset(name)
    given = arrays[custom[0].format("train")]
    assert (dataset.train_images.shape, dataset.classes) == ((40, 3, 8, 9), 3)
    # Those to train on are in another order, so that the first of them are of all classes.
    assert set(dataset.train_labels[:10]) == {0, 1, 2}
    restored = zip(unscaled(dataset, "train", given), dataset.train_labels, strict=True)
    labelled = zip(given, arrays[custom[1].format("train")][:, 0], strict=True)
    assert {(image.tobytes(), int(label)) for image, label in restored} == {
        (image.tobytes(), int(label)) for image, label in labelled
    }
    assert np.array_equal(unscaled(dataset, "test", given), arrays[custom[0].format(unseen)])
    assert dataset.test_labels.tolist() == arrays[custom[1].format(unseen)][:, 0].tolist()
    # Validation images do not count where there are test images, and other arrays never do.
    more = in_parts(custom, train=40, test=15, val=13) if unseen == "test" else arrays
    assert load_dataset(save(tmp_path / "own.npz", **more, classes=np.array(["a"]))).digest() == dataset.digest()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_test": None}, "it holds no y_test, but x_train, y_train, x_test; save it with"),
        ({"x_test": None, "y_test": None}, r"it holds no x_test and no y_test, but x_train, y_train; .*images=\.\.\."),
        ({name: None for name in ("x_train", "y_train", "x_test")}, "it holds no x_train and no y_train and no x_test"),
        ({"x_test": np.zeros((15, 8, 8, 3), np.uint8)}, r"x_train \(40, 8, 9, 3\) of uint8 and x_test \(15, 8, 8, 3\)"),
        ({"x_test": np.zeros((15, 8, 9, 3))}, r"of uint8 and x_test \(15, 8, 9, 3\) of float64: give both"),
        ({"y_test": np.zeros(15, int)}, "of 55 images 15 are for testing, and none is of class 1, 2: add"),
        ({"y_test": np.arange(15) % 4}, "of 55 images 40 are for pre-training, and none is of class 3: add"),
        ({"y_train": np.zeros((40, 14), int)}, r"y_train in .* \(40, 14\), not \(N,\): .* save y_train\.argmax\(1\)"),
        ({"y_train": np.arange(40) / 2}, r"y_train in .* not float64; .*unique\(y_train, return_inverse"),
        ({"x_train": np.zeros((40, 8, 9, 3), int), "x_test": np.zeros((15, 8, 9, 3), int)},
         "x_train in .* are int64.* x_train.astype"),
        ({"x_test": np.zeros((11, 8, 9, 3), np.uint8), "y_test": np.arange(11) % 3},
         "holds 40 images for pre-training and 11 for testing; at least 12 of each are needed"),
    ],
)  # fmt: skip
def test_unsuitable_files_with_a_split_are_named(
    tmp_path: Path, changed: dict[str, np.ndarray | None], message: str
) -> None:
    arrays = {**in_parts(KERAS, train=40, test=15), **changed}
    path = tmp_path / "own.npz"
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(save(path, **{name: array for name, array in arrays.items() if array is not None}))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    header = io.BytesIO()
    shape = (10_000_000, 3, 1000, 1000)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
        archive.getinfo("images.npy").file_size = 1 << 45  # as compression may make true
        np.lib.format.write_array(archive.open("labels.npy", "w"), FINE["labels"])
    with pytest.raises(DataError, match=r"10,000,000 images of 3x1000x1000 values, which take 300,000\.0 GB of memory"):
        load_dataset(str(tmp_path / "own.npz"))


def test_large_and_small_images_of_one_own_are_taken(tmp_path: Path) -> None:
    for images in (NOISE * 1e30, NOISE * 1e-30, NOISE + 1000, NOISE.astype(np.float16), (NOISE > 0).astype(np.uint8)):
        save(tmp_path / "own.npz", **(FINE | {"images": images}))
        dataset = load_dataset(str((tmp_path / "own.npz").replace(tmp_path / "own.NPZ")))
        assert dataset.train_images.std() == pytest.approx(1, abs=0.01)


def announced(shape: tuple[int, ...]) -> bytes:
    """An NPZ file whose images are not as many as its header says."""
    array, packed = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("images.npy", array.getvalue() + bytes(1000))
        archive.writestr("labels.npy", array.getvalue())
    return packed.getvalue()


def test_an_unreadable_own_file_is_named(tmp_path: Path) -> None:
    whole = Path(save(tmp_path / "own.npz", **FINE)).read_bytes()
    for content in (b"", b"no zip", whole[:200], whole[:-50]):
        (tmp_path / "own.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"cannot read .*own\.npz"):
            load_dataset(str(tmp_path / "own.npz"))
    for content, message in (
        (
            b"<!DOCTYPE html>\n<html>not found</html>",
            r"own\.npz: it is not an NPZ file: it begins with b'<!DOCTYPE html>.*web page",
        ),
        (b"\x93NUMPY\x01\x00" + bytes(80), r"own\.npz: it is a single array, from numpy\.save"),
        (announced((9_999_999_999,)), r"own\.npz: its images are damaged: \(9999999999,\) .* 39,999,999,996 bytes"),
        (announced((1 << 40, 1 << 40)), r"own\.npz: its images are damaged"),
    ):
        (tmp_path / "own.npz").write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            load_dataset(str(tmp_path / "own.npz"))
        assert "pickle" not in str(caught.value)
    with pytest.raises(DataError, match=r"cannot read .*other\.npz: no such file"):
        load_dataset(str(tmp_path / "other.npz"))
    with pytest.raises(DataError, match="it holds no labels, but images"):
        load_dataset(save(tmp_path / "own.npz", images=FINE["images"]))
    with pytest.raises(DataError, match="it holds no images, but x, y"):
        load_dataset(save(tmp_path / "own.npz", x=FINE["images"], y=FINE["labels"]))
    (tmp_path / "own.tar").write_bytes(whole)
    with pytest.raises(DataError, match=r"own\.tar is neither an \.npz file nor a folder .*unpacked"):
        load_dataset(str(tmp_path / "own.tar"))


# --- writing -----------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new folder" / "file"
    write_atomically(path, b"old")

    def full(self: Path, target: object) -> None:
        raise OSError(errno.ENOSPC, "disk full", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=f"disk full: '{path}'"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
