"""A simulated board: its whole top, including pins, behind a pseudo-terminal.

``python -m tb.board --board ulx3s-85f`` prints the terminal's name; ``rlu tune --device serial:NAME`` uses it like a
real port. The simulation ends with the process, or when its standard input is closed.

The only difference to the board is a faster serial line, in clock cycles per bit. Otherwise most of the time would be
spent waiting for bits.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rtl.flows.fpga.boards import BOARDS, board
from rtl.flows.fpga.boards.board import Board
from rtl.flows.fpga.boards.board_top import TOP, simulation_top
from rtl.spec.params import RLUParams
from sim.files import scratch_folder, write_atomically
from sim.simulators.build import Simulator, built, simulation_child

#: Clock cycles per bit, and bit times of silence after which the bridge forgets an unfinished request.
DIVISOR, GAP_BITS = 4, 256
_START_SECONDS = 60.0


@dataclass
class SimulatedBoard:
    """A running simulation.

    Attributes:
        port: name of the pseudo-terminal.
        process: the simulation; killing its process group is like pulling the plug.
    """

    port: str
    process: subprocess.Popen[bytes]
    _folder: Path

    def press_reset(self) -> None:
        """Press and release the board's reset button; returns when that is done, also in simulated time."""
        done = self._folder / "pressed"
        done.unlink(missing_ok=True)
        with (self._folder / "button").open("wb", buffering=0) as button:
            button.write(b"!")
        while not done.exists():
            if self.process.poll() is not None:
                raise RuntimeError("the simulated board has ended")
            time.sleep(0.002)


@contextlib.contextmanager
def simulated(which: Board, params: RLUParams, simulator: Simulator = "verilator") -> Iterator[SimulatedBoard]:
    """Simulate a board with a unit of ``params`` until the ``with`` block ends.

    Args:
        which: the board.
        params: the unit on it.
        simulator: ``verilator`` or ``icarus``.
    """
    text, names = simulation_top(which, params, DIVISOR, GAP_BITS)
    with scratch_folder("rlu-board-") as folder:
        source = folder / "board.v"
        write_atomically(source, text)
        ports = [name.lstrip("~") for name in names.values()]
        build = built(source, simulator, toplevel=TOP, ports=ports)
        os.mkfifo(folder / "button")
        variables = {
            "RLU_BOARD_FOLDER": str(folder),
            "COCOTB_LOG_LEVEL": "WARNING",
            **{f"RLU_BOARD_{name.upper()}": port for name, port in names.items()},
        }
        command, environment = simulation_child("tb.board.server", TOP, build, folder, variables, simulator=simulator)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        try:
            yield SimulatedBoard(_port(folder, process), process, folder)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


def _port(folder: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "port").exists():
            return (folder / "port").read_text()
        time.sleep(0.01)
    raise RuntimeError("the board's simulation did not start:\n" + (folder / "log").read_text()[-2000:])


def main() -> None:
    """The command: simulates until standard input ends or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="tb.board", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--board", default="ulx3s-85f", choices=list(BOARDS))
    sizes = ("states", "actions", "episodes", "points")
    for name in sizes:
        parser.add_argument(f"--{name}", type=int)
    arguments = parser.parse_args()
    which = board(arguments.board)
    given = {name: value for name in sizes if (value := getattr(arguments, name)) is not None}
    try:
        params = RLUParams(**{"states": which.params.states, "actions": which.params.actions} | given)
    except ValueError as error:
        parser.error(str(error))
    with simulated(which, params) as running, contextlib.suppress(KeyboardInterrupt):
        print(running.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
