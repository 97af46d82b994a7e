"""The wheel holds the three packages whole, the command's start, and nothing else."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.places import ROOT

PACKAGES = ("rtl", "sim", "algo")
#: What a build needs beside the packages.
BESIDE = ("pyproject.toml", "README.md", "LICENSE", "rlu_cosim.py")


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Names of the files in a wheel that is built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for package in (*PACKAGES, "tb"):
        shutil.copytree(ROOT / package, sources / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copy(ROOT / name, sources)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", folder, sources], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_every_file_of_the_packages_is_in_it(names):
    files = {path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    wanted = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    assert wanted - names == set()


def test_nothing_else_is_installed(names):
    """Test benches, which need files and programs of a checkout, among the rest."""
    assert {name.split("/")[0] for name in names} == {*PACKAGES, "rlu_cosim.py"}
