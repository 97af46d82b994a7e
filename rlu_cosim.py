"""Entry point of the `rlu` command, in a module with a name that no user's file has.

Our packages have common names. A `sim.py` or a `json.py` in the working directory, or in a folder of PYTHONPATH, must
not be imported instead of ours, here or in a process that a command starts. This module cannot protect what Python
itself and the installed script import before it (`re`, `enum`).
"""

from __future__ import annotations

# Import as few modules as possible before the folders are in order.
# ruff: noqa: PTH100, PTH120
import os
import sys


def main() -> None:
    """Entry point of `rlu`: see `algo.cli.main`."""
    put_our_modules_first()
    from algo.cli import main as rlu

    rlu()


def put_our_modules_first() -> None:
    """Look for modules in PYTHONPATH last, and never in the working directory, here and in child processes.

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
