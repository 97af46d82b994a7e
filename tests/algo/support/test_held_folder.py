"""The folder of a run: what a kill leaves half written is in nobody's way."""

import json
import signal
import subprocess
import sys

import pytest

from algo.support.held_folder import CONFIG, HeldFolder, RunFolderError, content

KILLED = """
import os, pathlib, signal, sys
from algo.support.held_folder import HeldFolder

path, name = pathlib.Path(sys.argv[1]), sys.argv[2]
rename = pathlib.Path.replace
pathlib.Path.replace = lambda old, new: os.kill(os.getpid(), signal.SIGKILL) if new.name == name else rename(old, new)
with HeldFolder.create(path, {"seed": 1}) as folder:
    folder.write("result.json", "{}")
"""


def killed(path, name):
    """A run that is killed when a file of this name is written, but has not its name yet."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), name], check=False)
    assert done.returncode == -signal.SIGKILL and not (path / name).exists()
    return [one.name for one in path.iterdir() if name in one.name]


def test_a_run_that_is_killed_at_its_very_first_file_can_begin_again(tmp_path):
    path = tmp_path / "run"
    assert killed(path, CONFIG)
    assert content(path) == []
    with HeldFolder.create(path, {"seed": 2}) as folder:
        assert folder.config == {"seed": 2}
    assert [one.name for one in path.iterdir()] == [CONFIG]


def test_the_next_writer_removes_what_a_kill_left(tmp_path):
    path = tmp_path / "run"
    left = killed(path, "result.json")
    HeldFolder.open(path)  # a reader changes nothing
    assert left and all((path / name).exists() for name in left)
    with HeldFolder.open(path) as folder:
        folder.write("result.json", json.dumps([1]))
    assert sorted(one.name for one in path.iterdir()) == [CONFIG, "result.json"]


@pytest.mark.parametrize("name", [".gitignore", ".notes.txt", ".result.json.0123456789AB", "x.0123456789ab"])
def test_a_users_own_file_is_kept_and_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty"):
        HeldFolder.create(tmp_path, {})
    assert (tmp_path / name).read_text() == "mine" and [one.name for one in tmp_path.iterdir()] == [name]
