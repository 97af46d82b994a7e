"""Whatever PATH, PYTHONPATH, the working directory and the folders' names are, the environment's own tools run."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from rtl.files import scratch_folder
from rtl.spec.params import RLUParams
from sim.files import cache_dir, is_plain, plain_path
from sim.simulators.build import BuildFailed, built, generated_verilog
from tests.places import ROOT

#: The command as it is installed.
RLU = Path(sys.executable).parent / "rlu"
#: A run that needs a simulator and a search that needs worker processes.
LOCKSTEP = ("lockstep", "--episodes", "3", "--states", "4", "--actions", "3")
#: Characters that mean something to make, to a shell, or in a list of paths.
AWKWARD = "a cache; of#mine: 'it\"s $x"


def rlu(*arguments, path, cache, cwd=None, **variables):
    """Run the installed command with nothing in its environment but what is named."""
    environment = {"PATH": path, "RLU_CACHE_DIR": str(cache), **variables}
    return subprocess.run([RLU, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def empty_cache(tmp_path):
    """A folder with a difficult name that holds nothing but the objects of Verilator's runtime, which take long."""
    cache = tmp_path / AWKWARD
    cache.mkdir()
    objects = cache_dir().absolute() / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    (cache / "objects").symlink_to(objects)
    return cache


@pytest.fixture
def shadows(tmp_path):
    """A user's folder whose files have the names of our packages and of the standard library's."""
    folder = tmp_path / "users"
    for name in ("sim.py", "tb.py", "json.py", "socket.py", "numpy.py", "joblib.py", "rtl/__init__.py", "algo/cli.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("raise SystemExit(f'{__file__} of the user was executed')\n")
    return folder


def hostile_path(tmp_path):
    """A PATH whose Python, Verilator and Yosys are others, which fail, before the tools of a stock Debian."""
    folder = tmp_path / "others"
    folder.mkdir()
    for name in ("python", "python3", "verilator", "verilator_bin", "cocotb-config"):
        (folder / name).write_text("#!/bin/sh\necho another $0 >&2\nexit 3\n")
        (folder / name).chmod(0o755)
    (folder / "yosys").write_text("#!/bin/sh\n[ $1 = -V ] && echo 'Yosys 0.60 (git sha1 0)' || exit 3\n")
    (folder / "yosys").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_a_simulator_is_built_and_run_in_awkward_surroundings(tmp_path, empty_cache, shadows):
    done = rlu(*LOCKSTEP, path=hostile_path(tmp_path), cache=empty_cache, cwd=shadows, COCOTB_TEST_FILTER="none")
    assert done.returncode == 0 and "identical" in done.stdout, done.stderr
    assert list((empty_cache / "build").glob("*/built")), "built elsewhere"


def test_icarus_too(tmp_path, empty_cache, shadows):
    done = rlu(
        *LOCKSTEP, "--simulator", "icarus", path=hostile_path(tmp_path), cache=empty_cache, cwd=shadows,
        PYTHONPATH=str(shadows),
    )  # fmt: skip
    assert done.returncode == 0 and "identical" in done.stdout, done.stderr


@pytest.mark.parametrize("named", ["absent", "absolute", "relative", "empty"])
def test_users_modules_are_not_taken_for_ours(named, shadows):
    """Neither from the working directory nor from PYTHONPATH; an empty entry there means the working directory."""
    named = {"absolute": str(shadows), "relative": "../users", "empty": ":"}.get(named)
    variables = {} if named is None else {"PYTHONPATH": named}
    done = rlu(*LOCKSTEP, path="/usr/bin:/bin", cache=cache_dir().absolute(), cwd=shadows, **variables)
    assert done.returncode == 0 and "identical" in done.stdout, done.stderr + done.stdout


def test_workers_do_not_take_users_modules_either(shadows):
    search = ("search", "--table", "synthetic", "--method", "tpe,random", "--seeds", "2", "--budget", "12")
    done = rlu(
        *search, "--jobs", "2", path="/usr/bin:/bin", cache=cache_dir().absolute(), cwd=shadows,
        PYTHONPATH=str(shadows),
    )  # fmt: skip
    assert done.returncode == 0 and "tpe" in done.stdout, done.stderr


def test_pythonpath_still_brings_what_is_not_installed(tmp_path):
    """On a cluster, packages often come that way."""
    (tmp_path / "only_here.py").write_text("found = True\n")
    code = "import rlu_cosim; rlu_cosim.put_our_modules_first(); import only_here, rtl; print(rtl.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 and Path(done.stdout.strip()).parent.parent == ROOT, done.stderr


def test_a_compiler_that_fails_is_heard(tmp_path, monkeypatch):
    """Its own first error is shown, and the file is not blamed."""
    (tmp_path / "g++").write_text("#!/bin/sh\necho 'cc1plus: fatal error: the disk is full of leaves' >&2\nexit 1\n")
    (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("RLU_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(BuildFailed, match=r"rlu\.v was accepted by verilator, but did not compile:\n.*full of leaves"):
        built(generated_verilog(RLUParams(states=2, actions=2)), "verilator")


def test_a_home_that_cannot_be_written_to(tmp_path):
    """As in a container that runs under any user: the tools' own caches lie in ours."""
    (tmp_path / "home").write_text("no folder")
    done = rlu(
        "verilog", "--states", "2", "--actions", "2", "-o", str(tmp_path / "unit.v"), path="/usr/bin:/bin",
        cache=tmp_path / "cache", HOME=str(tmp_path / "home"),
    )  # fmt: skip
    assert done.returncode == 0 and (tmp_path / "unit.v").exists(), done.stderr
    done = rlu("verilog", "-o", str(tmp_path / "unit.v"), path="", cache="", HOME=str(tmp_path / "home"))
    assert done.returncode == 2 and "Traceback" not in done.stderr and "RLU_CACHE_DIR" in done.stderr


def test_a_relative_folder_of_temporary_files(tmp_path):
    done = rlu(*LOCKSTEP, path="/usr/bin:/bin", cache=cache_dir().absolute(), cwd=tmp_path, TMPDIR=".")
    assert done.returncode == 0 and "identical" in done.stdout, done.stderr


def test_a_plain_path_is_itself_and_any_other_has_a_link(tmp_path):
    assert plain_path(tmp_path / "x-1.5_b+c") == tmp_path / "x-1.5_b+c"
    folder = tmp_path / AWKWARD
    folder.mkdir()
    link = plain_path(folder)
    assert is_plain(link) and link.samefile(folder) and plain_path(folder) == link
    shutil.rmtree(folder)
    folder.mkdir()
    assert plain_path(folder).samefile(folder)


HOLD = """
import sys, time
from pathlib import Path
from rtl.files import scratch_folder
with scratch_folder("held-", Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_no_scratch_folder_for_long(tmp_path):
    """The next that needs one removes it; one in use stays."""
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    killed, running = (Path(holder.stdout.readline().strip()) for holder in holders)
    holders[0].kill()
    holders[0].wait()
    try:
        assert killed.exists()
        with scratch_folder("held-", tmp_path) as own:
            assert own.exists() and running.exists() and not killed.exists()
        assert not own.exists()
    finally:
        holders[1].kill()
        holders[1].wait()


def test_the_end_of_the_terminal_leaves_nothing_behind():
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a socket's path has no room for pytest's folders
        command = [RLU, "lockstep", "--episodes", "1000000", "--states", "4", "--actions", "3"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            command, env=os.environ | {"TMPDIR": short}, stdout=quiet, stderr=quiet,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # under nohup it would be ignored
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 100
            while not list(Path(short).glob("rlu-sim-*/socket")):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGHUP)
            assert process.wait(timeout=60) == 130
            assert not list(Path(short).glob("rlu-sim-*"))
        finally:
            process.kill()


def test_temporary_files_may_lie_in_a_folder_with_any_name(tmp_path):
    folder = tmp_path / AWKWARD
    folder.mkdir()
    done = rlu(*LOCKSTEP, path="/usr/bin:/bin", cache=cache_dir().absolute(), TMPDIR=str(folder))
    assert done.returncode == 0 and "identical" in done.stdout, done.stderr
    assert tempfile.gettempdir() != str(folder)
