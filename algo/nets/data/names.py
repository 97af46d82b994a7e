"""Names of data sets: those that are known, and a user's own files. Needs no NumPy, so help texts can name them."""

from __future__ import annotations

import os
from pathlib import Path

#: Data sets with a name; `algo.nets.data.files.READERS` reads them, but for the digits, which need no download.
DATASETS = ("digits", "fashion-mnist", "cifar10", "cifar100")
PUBLISHED_DATASET = "cifar100"


def names_files(name: str) -> bool:
    """Whether the name of a data set is the path of a user's own file or folder."""
    return name not in DATASETS and bool(name) and (os.sep in name or bool(Path(name).suffix) or Path(name).is_dir())


def shown_name(name: str) -> str:
    """The name of a data set as a report shows it to others: without its path; a folder is called one."""
    if not names_files(name):
        return name
    path = Path(name)
    return path.name if path.suffix.lower() == ".npz" else f"folder {path.resolve().name}"
