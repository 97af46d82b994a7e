"""Cells: the same results in every way of running, nothing done twice, nothing lost."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from algo.support.cells import kept_as, run_cells
from tests.places import ROOT

WAYS = {"this process": {"jobs": 1}, "processes": {"jobs": 2}, "Ray": {"jobs": 2, "ray": "local"}}


@pytest.fixture(scope="module")
def started_ray():
    """Ray takes seconds to start: once for all tests that do not kill it."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@dataclass(frozen=True)
class Square:
    """A cell that leaves a mark when it is computed, and can end its process on its first try."""

    number: int
    marks: str
    fatal: bool = False


def square(cell: Square):
    mark = Path(cell.marks) / f"{cell.number}-{os.getpid()}-{time.monotonic_ns()}"
    first = not list(mark.parent.glob(f"{cell.number}-*"))
    mark.touch()
    if cell.fatal and first:
        os.kill(os.getpid(), signal.SIGKILL)
    return {
        "pair": (cell.number, cell.number**2),
        "roots": np.sqrt(np.arange(cell.number, dtype=np.float64)),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def cells_in(folder: Path, fatal: int | None = None) -> list[Square]:
    folder.mkdir(exist_ok=True)
    return [Square(number, str(folder), number == fatal) for number in range(6)]


def marks(folder: Path) -> list[int]:
    return sorted(int(mark.name.split("-")[0]) for mark in folder.iterdir())


def without_threads(results):
    return [(r["pair"], r["roots"].tolist(), r["roots"].dtype.str) for r in results]


EXPECTED = [([n, n * n], np.sqrt(np.arange(n)).tolist(), "<f8") for n in range(6)]


@pytest.mark.parametrize("way", WAYS)
def test_same_results_in_every_way_and_one_thread_in_workers(way, tmp_path, request):
    if way == "Ray":
        request.getfixturevalue("started_ray")
    results = run_cells(square, cells_in(tmp_path / "marks"), folder=tmp_path / "cells", **WAYS[way])
    assert without_threads(results) == EXPECTED
    if way != "this process":
        assert {r["threads"] for r in results} == {"1"}
    again = run_cells(square, cells_in(tmp_path / "marks"), folder=tmp_path / "cells", **WAYS[way])
    assert without_threads(again) == EXPECTED
    assert marks(tmp_path / "marks") == list(range(6))  # nothing was done twice


@pytest.mark.parametrize("way", ["processes", "Ray"])
def test_a_killed_workers_cell_is_redone(way, tmp_path, request):
    if way == "Ray":
        request.getfixturevalue("started_ray")
    results = run_cells(square, cells_in(tmp_path / "marks", fatal=3), folder=tmp_path / "cells", **WAYS[way])
    assert without_threads(results) == EXPECTED
    assert marks(tmp_path / "marks").count(3) >= 2  # the first try really ended its process
    assert len(list((tmp_path / "cells").iterdir())) == 6


def deadly(cell):
    if cell[0] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return cell[0]


@pytest.mark.parametrize("way", ["processes", "Ray"])
def test_a_cell_that_always_kills_its_worker_ends_the_run(way, request):
    if way == "Ray":
        request.getfixturevalue("started_ray")
    with pytest.raises(RuntimeError, match=r"3 worker processes in a row were killed .* fewer jobs"):
        run_cells(deadly, [(0,), (1,)], **WAYS[way])


def picky(cell):
    if cell[0] == 2:
        raise ValueError("two is not allowed")
    return cell[0]


@pytest.mark.parametrize("way", WAYS)
def test_the_functions_own_exception_comes_through(way, tmp_path, request):
    if way == "Ray":
        request.getfixturevalue("started_ray")
    with pytest.raises(ValueError, match=r"^two is not allowed$"):
        run_cells(picky, [(0,), (1,), (2,)], folder=tmp_path, **WAYS[way])


@pytest.mark.parametrize("way", ["processes", pytest.param("Ray", marks=pytest.mark.slow)])
def test_resumes_after_a_kill(way, tmp_path):
    if way == "Ray":
        pytest.importorskip("ray")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom algo.support.cells import run_cells\n"
        "from tests.algo.support.test_cells import slow\n"
        f"run_cells(slow, [(n, sys.argv[1]) for n in range(4)], folder=Path(sys.argv[2]), **{WAYS[way]!r})"
    )
    folder, marked = tmp_path / "cells", tmp_path / "marks"
    marked.mkdir()
    command = [sys.executable, "-c", code, str(marked), str(folder)]
    child = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not len(list(folder.glob("*.npz")) if folder.exists() else []) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    done = len(list(folder.glob("*.npz")))
    assert 1 <= done < 4
    before = marks(marked)
    cells = [(n, str(marked)) for n in range(4)]
    assert run_cells(slow, cells, folder=folder, jobs=1) == [0, 10, 20, 30]
    assert len(marks(marked)) - len(before) == 4 - done


def slow(cell):
    number, folder = cell
    (Path(folder) / f"{number}-{os.getpid()}").touch()
    time.sleep(0.3 + number)
    return 10 * number


def test_two_commands_share_a_folder(tmp_path):
    """As two sweeps or builds do: each cell is a file that is written whole, and the same whoever writes it."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom algo.support.cells import run_cells\n"
        "from tests.algo.support.test_cells import large\n"
        "found = run_cells(large, [(n,) for n in range(40)], folder=Path(sys.argv[1]), jobs=1)\n"
        "sys.exit([r['ones'].sum() for r in found] != [n * 10**6 // 8 for n in range(40)])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cells")]
    children = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(child.communicate()[1], child.returncode) for child in children]
    assert [code for _, code in ends] == [0, 0, 0] and not any("damaged" in said for said, _ in ends), ends
    assert len(list((tmp_path / "cells").iterdir())) == 40
    assert run_cells(large, [(3,)], folder=tmp_path / "cells", jobs=1)[0]["ones"].sum() == 3 * 10**6 // 8


def large(cell):
    return {"ones": np.full(10**6 // 8, cell[0], np.int64)}


@pytest.mark.parametrize("damage", ["cut short", "one bit", "empty", "of another cell"])
def test_a_damaged_file_is_redone(damage, tmp_path, capsys):
    cells = cells_in(tmp_path / "marks")
    run_cells(square, cells, folder=tmp_path / "cells", jobs=1)
    files = sorted((tmp_path / "cells").iterdir())
    content = files[0].read_bytes()
    middle = content.index(b"pair") + 2
    files[0].write_bytes(
        {
            "cut short": content[:-40],
            "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "empty": b"",
            "of another cell": files[1].read_bytes(),
        }[damage]
    )
    assert without_threads(run_cells(square, cells, folder=tmp_path / "cells", jobs=1)) == EXPECTED
    assert "is damaged" in capsys.readouterr().err and files[0].read_bytes() == content
    assert len(marks(tmp_path / "marks")) == 7


def test_equal_cells_are_computed_once_and_nothing_is_kept_without_a_folder(tmp_path):
    cells = cells_in(tmp_path / "marks")
    results = run_cells(square, [cells[2], cells[1], cells[2]], jobs=1)
    assert [r["pair"] for r in results] == [[2, 4], [1, 1], [2, 4]]
    assert marks(tmp_path / "marks") == [1, 2]


@kept_as("elsewhere.doubled")
def before_the_move(cell):
    return 2 * cell[0]


@kept_as("elsewhere.doubled")
def after_the_move(cell):
    raise AssertionError("computed again")


def test_results_are_kept_under_a_name_that_survives_a_move(tmp_path):
    run_cells(before_the_move, [(4,)], folder=tmp_path, jobs=1)
    assert run_cells(after_the_move, [(4,)], folder=tmp_path, jobs=1) == [8]


def test_refuses_what_cannot_work():
    with pytest.raises(ValueError, match="<lambda> is not at the top level"):
        run_cells(lambda cell: cell, [(1,)])
    with pytest.raises(ValueError, match="jobs must be at least 1, not 0"):
        run_cells(picky, [(1,)], jobs=0)
    with pytest.raises(ValueError, match=r"plain values, not .*object at 0x"):
        run_cells(picky, [(object(),)])
