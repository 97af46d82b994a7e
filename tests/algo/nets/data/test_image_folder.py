"""A folder of images becomes the data set it looks like, or one sentence that names what is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from algo.cli import main
from algo.nets.data.datasets import DataError, load_dataset
from algo.nets.data.names import names_files, shown_name
from tests.algo.support.test_user_files import other_bytes, taken_or_refused

HEIGHT, WIDTH = 8, 9


def pictures(count: int, channels: int, seed: int = 0) -> np.ndarray:
    """Images (N, H, W, C) of noise, which differ from class to class."""
    images = np.random.default_rng(seed).integers(0, 100, (count, HEIGHT, WIDTH, channels), np.uint8)
    images[: count // 2] += 100
    return images


def write(folder: Path, images: np.ndarray, suffix: str = "png") -> Path:
    """Write images into files whose names sort as they do; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(folder / f"{number:03}.{suffix}")
    return folder


def animals(root: Path, count: int = 30, channels: int = 1, suffix: str = "png", seed: int = 0) -> np.ndarray:
    """A folder of two classes; returns all images in the order of the classes."""
    images = pictures(count, channels, seed)
    write(root / "dog", images[count // 2 :], suffix)
    write(root / "cat", images[: count // 2], suffix)
    return images


# --- what is taken -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "suffix"), [(1, "png"), (3, "png"), (3, "bmp"), (1, "pgm"), (3, "ppm"), (3, "tiff")]
)
def test_a_folder_has_the_images_of_an_npz_file_with_the_same_arrays(
    tmp_path: Path, channels: int, suffix: str
) -> None:
    images = animals(tmp_path / "photos", channels=channels, suffix=suffix)
    dataset = load_dataset(str(tmp_path / "photos"))
    np.savez(tmp_path / "own.npz", images=images, labels=np.repeat([0, 1], 15))
    same = load_dataset(str(tmp_path / "own.npz"))
    assert dataset.train_images.shape == (17, channels, HEIGHT, WIDTH)
    assert np.array_equal(dataset.train_images, same.train_images)
    assert np.array_equal(dataset.test_images, same.test_images)
    assert np.array_equal(dataset.test_labels, same.test_labels)
    assert (dataset.classes, dataset.class_names, same.class_names) == (2, ("cat", "dog"), ())


@pytest.mark.parametrize("suffix", ["JPG", "jpeg", "webp"])
def test_compressed_images_are_read_in_colour(tmp_path: Path, suffix: str) -> None:
    animals(tmp_path, channels=3, suffix=suffix)
    assert load_dataset(str(tmp_path)).train_images.shape == (17, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_grey_and_colour_images_together_are_colour(tmp_path: Path, mode: str) -> None:
    images = animals(tmp_path)
    changed = tmp_path / "cat" / "000.tiff"
    (tmp_path / "cat" / "000.png").unlink()
    Image.fromarray(images[0, ..., 0]).convert("RGB").convert(mode).save(changed)
    dataset = load_dataset(str(tmp_path))
    assert dataset.train_images.shape == (17, 3, HEIGHT, WIDTH)
    assert np.array_equal(dataset.train_images[:, 0], dataset.train_images[:, 2])


def test_transparency_is_left_out(tmp_path: Path) -> None:
    animals(tmp_path)
    before = load_dataset(str(tmp_path)).digest()
    path = tmp_path / "dog" / "000.png"
    with Image.open(path) as image:
        image.load()
    image.putalpha(7)
    image.save(path)
    with Image.open(path) as image:
        assert image.mode == "LA"
    assert load_dataset(str(tmp_path)).digest() == before


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing"), ("train", "valid")])
def test_a_folder_with_a_split_keeps_it(tmp_path: Path, train: str, test: str) -> None:
    animals(tmp_path / train, 40)
    unseen = animals(tmp_path / test, 16, seed=1)
    dataset = load_dataset(str(tmp_path))
    assert (len(dataset.train_labels), dataset.test_labels.tolist()) == (40, [0] * 8 + [1] * 8)
    order = np.argsort(unseen.reshape(16, -1).astype(float).sum(1))
    assert np.array_equal(order, np.argsort(dataset.test_images.reshape(16, -1).sum(1)))
    if test != "valid":
        animals(tmp_path / "val", 20, seed=2)  # has no effect beside images to test with
        assert load_dataset(str(tmp_path)).digest() == dataset.digest()


def test_folders_that_are_only_called_like_parts_are_classes(tmp_path: Path) -> None:
    images = pictures(30, 1)
    write(tmp_path / "train", images[:15]), write(tmp_path / "bus", images[15:])
    assert load_dataset(str(tmp_path)).class_names == ("bus", "train")


def test_what_is_hidden_or_no_folder_of_a_class_is_left_out(tmp_path: Path) -> None:
    animals(tmp_path)
    before = load_dataset(str(tmp_path)).digest()
    for name in (".DS_Store", "README.md", "Thumbs.db", "cat/.000.png", "cat/Thumbs.db", "cat/desktop.ini"):
        (tmp_path / name).write_bytes(b"nothing")
    (tmp_path / ".git").mkdir(), (tmp_path / "__MACOSX").mkdir()
    assert load_dataset(str(tmp_path)).digest() == before


def test_the_digest_knows_images_their_class_and_its_name(tmp_path: Path) -> None:
    animals(tmp_path)
    digests = [load_dataset(str(tmp_path)).digest()]

    def note() -> None:
        digests.append(load_dataset(str(tmp_path)).digest())

    (tmp_path / "cat").rename(tmp_path / "bat"), note()
    shutil.copy(tmp_path / "bat" / "000.png", tmp_path / "bat" / "001.png"), note()
    (tmp_path / "bat" / "000.png").rename(tmp_path / "dog" / "100.png"), note()
    (tmp_path / "dog" / "100.png").unlink(), note()
    assert len(set(digests)) == 5
    os.utime(tmp_path / "dog" / "000.png", (0, 0)), note()
    assert digests[5] == digests[4]


# --- what is refused -----------------------------------------------------------------------------------------


def header_only(width: int, height: int) -> bytes:
    """A PNG of grey pixels that ends before the first of them."""
    fields = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = struct.pack(">I", 10) + b"IDAT" + bytes(10)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + fields + struct.pack(">I", zlib.crc32(fields)) + data


def move(source: str, target: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        (root / target).parent.mkdir(exist_ok=True)
        (root / source).rename(root / target)

    return change


def put(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(content)


def deep(root: Path) -> None:
    Image.new("I;16", (WIDTH, HEIGHT)).save(root / "dog" / "000.png")


def wide(root: Path) -> None:
    Image.new("L", (WIDTH + 1, HEIGHT)).save(root / "dog" / "000.png")


def large(root: Path) -> None:
    for path in root.glob("*/*.png"):
        path.unlink()
    (root / "cat" / "000.png").write_bytes(header_only(9000, 9000))
    for number in range(1, 20_000):
        (root / ("cat", "dog")[number % 2] / f"{number}.png").hardlink_to(root / "cat" / "000.png")


def parts(*names: str, but: str = "") -> Callable[[Path], object]:
    """Make the folder one of parts, and leave out one class of one."""

    def change(root: Path) -> None:
        shutil.rmtree(root)
        for name in names:
            animals(root / name)
        if but:
            shutil.rmtree(root / but)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("cat/000.png", b""), "cannot read PHOTOS/cat/000.png: it is empty; replace it or remove it"),
        (put("cat/000.png", b"<html>"), "PHOTOS/cat/000.png: it is damaged, or not an image in spite of its name"),
        (put("cat/000.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 8\n"), "000.png: it is damaged"),
        (put("cat/000.png", header_only(WIDTH, HEIGHT)), "PHOTOS/cat/000.png: "),
        (put("cat/000.png", header_only(30_000, 30_000)), "000.png: it has more than 178,956,970 pixels; replace"),
        (put("cat/a.txt", b""), r"cat/a.txt is not an image in a known format \\(.bmp, .*\\): move it away"),
        (put("a.png", b""), "PHOTOS/a.png is not in the folder of a class: put"),
        (lambda root: (root / "cat" / "x.png").mkdir(), "PHOTOS/cat/x.png is a folder, but images of class cat are"),
        (lambda root: os.mkfifo(root / "cat" / "x.png"), "PHOTOS/cat/x.png: it is not a file"),
        (lambda root: (root / "bird").mkdir(), "PHOTOS/bird holds no image: put some into it, or remove it"),
        (move("dog", "old/dog"), "PHOTOS/old/dog is a folder, but images of class old are expected"),
        (lambda root: shutil.rmtree(root / "dog"), r"has only one folder \\(cat\\) in it: at least two are needed"),
        (lambda root: (shutil.rmtree(root), root.mkdir()), "PHOTOS has no folder in it: at least two are needed"),
        (deep, r"PHOTOS/dog/000.png has more than 8 bits per channel \\(mode I;16\\): save 8 bits"),
        (wide, r"dog/000.png has 10x8 pixels \\(width x height\\), and PHOTOS/cat/000.png has 9x8: scale or crop all"),
        (large, r"PHOTOS holds 20,000 images of 1x9000x9000 values, which take 16,200.0 GB of memory; this"),
        (move("cat/000.png", "ape/000.png"), "of 30 images 13 are drawn for testing, and none is of class ape: add"),
        (parts("train"), "has train but no test and no val: add one, or name PHOTOS/train, which is then split"),
        (parts("train", "val", "valid"), "PHOTOS has val and valid, which are the same part: leave one"),
        (parts("train", "Train", "test"), "PHOTOS has Train and train, which are the same part: leave one"),
        (lambda root: (parts("train", "test")(root), (root / "1.png").write_bytes(b"")), "PHOTOS/1.png is not in the"),
        (parts("train", "test", but="test/cat"), "PHOTOS/test has only one folder"),
        (parts("train", "test", but="train/cat"), "PHOTOS/train has only one folder"),
        (lambda root: (parts("train", "test")(root), animals(root / "test" / "x"), shutil.rmtree(root / "test" / "x"),
                       write(root / "train" / "eel", pictures(2, 1))),
         "PHOTOS/test has no folder eel, as PHOTOS/train has: give both the same classes, each"),
        (lambda root: (parts("train", "test")(root), write(root / "test" / "eel", pictures(2, 1))),
         "PHOTOS/train has no folder eel, as PHOTOS/test has"),
        (lambda root: (parts("train", "test")(root), (root / "test" / "1.png").write_bytes(b"")),
         "PHOTOS/test/1.png is not in the folder of a class"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_an_unsuitable_folder_is_named(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    root = tmp_path / "photos"
    animals(root)
    change(root)
    with pytest.raises(DataError, match=message.replace("PHOTOS", str(root)).replace("\\\\", "\\")) as caught:
        load_dataset(str(root))
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_gone_or_none_is_an_error_of_the_system_that_names_it(tmp_path: Path) -> None:
    animals(tmp_path)
    (tmp_path / "cat" / "x.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"x\.png"):
        load_dataset(str(tmp_path))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("damaged")
    animals(root)
    return root


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_image_is_taken_or_refused_by_name(photos: Path, suffix: str, data: st.DataObject) -> None:
    whole = photos / f"whole.{suffix}"
    write_one(whole)
    content = whole.read_bytes()
    whole.unlink()
    path = photos / "cat" / f"{suffix}.{suffix}"
    path.write_bytes(data.draw(other_bytes(content)))
    try:
        taken_or_refused(lambda: load_dataset(str(photos)), path)
    finally:
        path.unlink()


def write_one(path: Path) -> None:
    Image.fromarray(pictures(1, 3)[0]).save(path)


# --- names, and runs -----------------------------------------------------------------------------------------


def test_a_name_of_a_data_set_is_none_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    animals(tmp_path / "digits"), animals(tmp_path / "cifar100")
    assert load_dataset("digits").class_names == ()
    assert load_dataset("./digits").class_names == ("cat", "dog")
    assert load_dataset("digits/").class_names == ("cat", "dog")
    assert not load_dataset("./cifar100").published
    assert [name for name in ("digits", "cifar100", "mnist", "", "./digits", "x.npz", "a/b") if names_files(name)] == [
        "./digits",
        "x.npz",
        "a/b",
    ]
    shown = [shown_name(name) for name in ("cifar100", "./cifar100", str(tmp_path / "cifar100"), "a/b.npz")]
    assert shown == ["cifar100", "folder cifar100", "folder cifar100", "b.npz"]
    for name in ("", "mnist"):
        with pytest.raises(DataError, match=f"unknown data set '{name}': choose one of digits"):
            load_dataset(name)
    with pytest.raises(DataError, match=r"cannot read a/b: no such file or folder"):
        load_dataset("a/b")


def rlu(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """A command's exit code, and what it says on standard error."""
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().err


def test_a_run_on_a_folder_is_resumed_with_the_same_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run, elsewhere = tmp_path / "cifar100", tmp_path / "run", tmp_path / "elsewhere"
    animals(root, channels=3)
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    options = ("--schedule", "quick", "--iterations", 1, "--width", 1, "--threads", 1, "--accuracy-drop", 1)
    code, said = rlu(capsys, "tune", "--data", "./cifar100", *options, "--out", run)
    assert code == 0, said
    assert "folder cifar100 (not the published CIFAR-100), images of 3x8x9 (channels, height, width), 2 cl" in said
    assert json.loads((run / "summary.json").read_text())["data"] == "folder cifar100 (not the published CIFAR-100)"
    assert rlu(capsys, "report", "run", "-o", "report.html")[0] == 0
    page = (tmp_path / "report.html").read_text()
    assert "--data ./cifar100 " in page and str(tmp_path) not in page

    (run / "summary.json").unlink()
    monkeypatch.chdir(elsewhere)
    assert rlu(capsys, "tune", "--resume", "--out", run)[0] == 0
    (root / "cat").rename(root / "bat")
    for command in (("export", run, "-o", tmp_path / "net.onnx"), ("tune", "--resume", "--out", run)):
        (run / "summary.json").rename(run / "kept") if command[0] == "tune" else None
        code, said = rlu(capsys, *command)
        assert code == 2 and f"the data {root} changed after the run in {run} began" in said
    root.rename(tmp_path / "moved")
    code, said = rlu(capsys, "tune", "--resume", "--out", run)
    assert code == 2 and f"was begun with data = {str(root)!r}, which does not exist: put it back" in said


def test_a_damaged_image_ends_a_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    animals(tmp_path / "photos", suffix="jpg")
    path = tmp_path / "photos" / "dog" / "003.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    monkeypatch.chdir(tmp_path)
    code, said = rlu(capsys, "tune", "--data", "photos")
    assert code == 2 and f"cannot read {path}: OSError: " in said and "Traceback" not in said
    assert said.count("\n") == 1 and not (tmp_path / "runs").exists()
