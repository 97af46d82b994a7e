"""Where the `rlu` command starts: a module whose name no file of a user's has.

Our packages have common names. A `sim.py` or a `json.py` in the working directory, or in a folder of PYTHONPATH, must
not be run in the place of ours, here or in a process that a command starts. What Python itself and the installed
script import before this module (`re`, `enum`) is out of its reach.
"""

from __future__ import annotations

# As few modules as can be are imported before the folders are in order.
# ruff: noqa: PTH100, PTH120
import os
import sys


def main() -> None:
    """Entry point of `rlu`: see `algo.cli.main`."""
    put_our_modules_first()
    from algo.cli import main as rlu

    rlu()


def put_our_modules_first() -> None:
    """Look for modules in PYTHONPATH last and not in the working directory, here and in processes that start here.

    Folders of PYTHONPATH can still bring packages that this environment lacks.
    """
    named = os.environ.get("PYTHONPATH")
    users = [os.path.abspath(folder) for folder in named.split(os.pathsep)] if named else []
    others = [folder for folder in sys.path if folder and os.path.abspath(folder) not in users]
    ours = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = dict.fromkeys([*others, ours, *users])
    os.environ["PYTHONSAFEPATH"] = "1"
    if users:
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
