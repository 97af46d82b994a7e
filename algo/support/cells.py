"""Work in independent cells: done on one core, on all cores or on Ray, and never done twice.

A cell is a frozen dataclass or a tuple of plain values that says everything its result depends on. Each finished
cell is a file, so an interrupted or killed run resumes where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import sys
import zipfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from tqdm import tqdm

from algo.support.zipped import zipped
from sim.files import write_atomically

__all__ = ["cores", "kept_as", "run_cells"]

Cell = TypeVar("Cell")
Function = TypeVar("Function", bound=Callable[..., Any])
Results: TypeAlias = Generator[tuple[str, Any], None, None]  # key and result of each cell, as they come
_FORMAT = 1
_HEADER = "cell.json"  # of a file: function, cell, and the parts of the result that are not arrays
_KEPT_AS = "kept_as"  # attribute of a function
_RETRIES = 3  # workers killed in a row without a finished cell between them


def kept_as(name: str) -> Callable[[Function], Function]:
    """A decorator: results of the function are kept under this name, even if the function moves in the code.

    Without it they are kept under the names of its module and itself, and a function that moves begins again.
    """

    def named(function: Function) -> Function:
        setattr(function, _KEPT_AS, name)
        return function

    return named


def run_cells(
    function: Callable[[Cell], Any],
    cells: Sequence[Cell],
    *,
    folder: Path | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    label: str = "",
) -> list[Any]:
    """Call a function once per cell and keep every result.

    Every way of running gives the same results, if the function depends only on its cell. A function that computes in
    threads must set their number itself if results depend on it (torch: `sgd.reproducible`); in worker processes
    OpenMP has one thread.

    Args:
        function: a function at the top level of a module, where other processes find it.
        cells: what it is called with; equal cells are computed once. Their `repr` must tell them apart.
        folder: where each result is saved as soon as it is there, made if missing; None keeps nothing. A file
            that is damaged, or of something else, is written again.
        jobs: processes; 1 works in this one, None takes every core this process may use.
        ray: ``"local"`` starts Ray here with ``jobs`` processes, an address joins a running cluster, on whose
            machines this package must be installed; None uses no Ray.
        label: of the progress bar.

    Returns:
        The results, in the order of the cells: a dictionary with NumPy arrays among its values, or anything
        JSON can hold. They are as if read from the file: tuples become lists.

    Raises:
        ValueError: if the function is not at top level, two different cells look alike, or jobs is below 1.
        RuntimeError: if worker processes were killed several times in a row without a finished cell.
        ModuleNotFoundError: without joblib (more than one process) or Ray (``ray``).
        Exception: whatever the function raises; cells finished before are saved.
    """
    if "<" in function.__qualname__:
        raise ValueError(f"{function.__qualname__} is not at the top level of a module: other processes cannot find it")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    keys = [_key(function, cell) for cell in cells]
    wanted = dict(zip(keys, cells, strict=True))
    results = {key: found for key in wanted if (found := _read(folder, key)) is not None}
    missing = {key: cell for key, cell in wanted.items() if key not in results}
    with (
        tqdm(
            total=len(wanted), initial=len(results), desc=label or None, unit="cell", disable=None, file=sys.stderr
        ) as bar,
        contextlib.closing(_finished(function, missing, jobs or cores(), ray)) as finished,
    ):
        for key, result in finished:
            packed = _packed(key, result)
            if folder is not None:
                write_atomically(_path(folder, key), packed)
            results[key] = _unpacked(packed, key)
            bar.update()
    return [results[key][0] for key in keys]


def cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _finished(function: Callable[[Cell], Any], cells: dict[str, Cell], jobs: int, ray: str | None) -> Results:
    if ray is not None and cells:
        return _on_ray(function, cells, jobs, ray)
    if min(jobs, len(cells)) > 1:
        return _in_processes(function, cells, jobs)
    return _in_this_process(function, cells)


def _in_this_process(function: Callable[[Cell], Any], cells: dict[str, Cell]) -> Results:
    for key, cell in cells.items():
        yield key, function(cell)


def _keyed(function: Callable[[Cell], Any], key: str, cell: Cell) -> tuple[str, Any]:
    return key, function(cell)


def _in_processes(function: Callable[[Cell], Any], cells: dict[str, Cell], jobs: int) -> Results:
    import joblib  # type: ignore[import-untyped]
    from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]
    from joblib.externals.loky.process_executor import TerminatedWorkerError  # type: ignore[import-untyped]

    left = dict(cells)
    killed = 0
    try:
        while left:
            with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
                calls = (joblib.delayed(_keyed)(function, key, cell) for key, cell in left.items())
                # With one job joblib would work in this process, which must outlive a killed worker. A cell per batch:
                # cells are long, and a killed worker loses only its own result.
                pool = joblib.Parallel(
                    n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs"
                )
                made = pool(list(calls))
            try:
                for key, result in made:
                    del left[key]
                    killed = 0
                    yield key, result
            except TerminatedWorkerError as error:
                killed += 1
                _give_up_after(killed, error)
    finally:
        if left:  # an error, or Ctrl-C: do not wait for running cells
            get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _on_ray(function: Callable[[Cell], Any], cells: dict[str, Cell], jobs: int, address: str) -> Results:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns about GPUs
    import ray

    ours = not ray.is_initialized()
    if ours:
        here: Any = {"num_cpus": jobs, "include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **here)
        except (ConnectionError, ValueError) as error:
            raise ValueError(f"no Ray cluster at {address!r}: {error}; give host:port, or local") from error
    try:
        # Ray gives a task one core, and sets OMP_NUM_THREADS to that; it tries again only after a killed worker.
        task: Any = ray.remote(_keyed).options(num_cpus=1, max_retries=_RETRIES)
        shared = ray.put(function)
        left = [task.remote(shared, key, cell) for key, cell in cells.items()]
        while left:
            done, left = ray.wait(left)
            try:
                found = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error  # the function's own exception, without Ray's traceback as message
            except ray.exceptions.WorkerCrashedError as error:
                _give_up_after(_RETRIES, error)
            yield from found
    finally:
        if ours:
            ray.shutdown()


def _give_up_after(killed: int, error: Exception) -> None:
    if killed >= _RETRIES:
        raise RuntimeError(
            f"{killed} worker processes in a row were killed before they finished a cell: out of memory? "
            "Run again with fewer jobs; finished cells are kept"
        ) from error


def _key(function: Callable[[Cell], Any], cell: Cell) -> str:
    """What a result belongs to, as text; its digest names the file."""
    text = repr(cell)
    if " at 0x" in text:
        raise ValueError(f"a cell must be made of plain values, not {text}")
    name = getattr(function, _KEPT_AS, f"{function.__module__}.{function.__qualname__}")
    return json.dumps([_FORMAT, name, text])


def _path(folder: Path, key: str) -> Path:
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"


def _packed(key: str, result: Any) -> bytes:
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    if isinstance(result, dict):
        arrays = {name: value for name, value in result.items() if isinstance(value, np.ndarray)}
        result = {name: value for name, value in result.items() if name not in arrays}
    members: dict[str, bytes | str] = {_HEADER: json.dumps({"key": key, "result": result})}
    for name, value in arrays.items():  # with them it is what numpy.savez writes, and one member more
        member = io.BytesIO()
        np.lib.format.write_array(member, value, allow_pickle=False)
        members[f"{name}.npy"] = member.getvalue()
    return zipped(members)


def _unpacked(packed: bytes, key: str) -> tuple[Any]:
    """The result, in a tuple because it may be None."""
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        header = json.loads(file.read(_HEADER))
        if header["key"] != key:
            raise ValueError("it belongs to another cell")
        result = header["result"]
        for name in file.namelist():
            if name != _HEADER:
                array = np.lib.format.read_array(io.BytesIO(file.read(name)), allow_pickle=False)
                result[name.removesuffix(".npy")] = array
    return (result,)


def _read(folder: Path | None, key: str) -> tuple[Any] | None:
    if folder is None or not _path(folder, key).exists():
        return None
    path = _path(folder, key)
    try:
        return _unpacked(path.read_bytes(), key)
    except Exception as error:  # whatever is wrong with it, computing again repairs it
        print(f"result {path} is damaged ({error}): computing it again", file=sys.stderr)
        return None
