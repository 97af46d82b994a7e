"""QVF-Bench: the tables that come with the project, every policy of VGG8 on the published chip's operating points.

>>> from algo.search.tables import qvf_bench
>>> qvf_bench.names()
('cifar10', 'digits', 'fashion-mnist')
>>> qvf_bench.load("digits").accuracy.shape
(59049,)

docs/use/qvf-bench.md is their data card.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from algo.search.tables.policy_table import PolicyTable
from algo.search.tables.table_file import read_table

__all__ = ["FOLDER", "load", "names"]

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Names of the tables, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.parquet")))


@cache
def load(name: str) -> PolicyTable:
    """A table by its name, read once a process; its arrays cannot be written to.

    Raises:
        ValueError: if the name is unknown.
        ModuleNotFoundError: without pyarrow.
    """
    if name not in names():
        raise ValueError(f"unknown table {name!r}: choose {', '.join(names())}, or give a Parquet file")
    table = read_table(FOLDER / f"{name}.parquet")
    for figures in (table.accuracy, table.latency_ms, table.energy_uj, table.accuracy_std):
        if figures is not None:
            figures.setflags(write=False)
    return table
