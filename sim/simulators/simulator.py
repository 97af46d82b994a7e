"""The RTL as a device: a cocotb simulation in a child process, reached through a socket."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rtl.spec.buses import front_end
from rtl.spec.params import RLUParams, longest_plan_cycles
from sim.devices.device import DeviceError, Op, Pins, check_ops
from sim.files import scratch_folder, temporary_folder
from sim.model.golden import Action, Draw, Event, QWrite, RewardEvent
from sim.signals import signals_wait
from sim.simulators.build import Simulator, built, generated_verilog, simulation_child, tool_environment

_START_SECONDS = 60.0


class SimDevice:
    """The simulated RTL behind any of its buses; same registers as `GoldenDevice`.

    Use it as a context manager, or call `close`. The child ends by itself if the host dies.

    Args:
        params: the unit to simulate.
        bus: the bus in front of the unit; ``none`` is its own bus.
        simulator: ``verilator`` or ``icarus``.
        verilog: a Verilog file to run instead of the one generated from ``params``.
        record: collect the unit's events, for `events` and `accesses`.
        waves: file to which the whole simulation's waveform is written (VCD; Verilator only).

    Raises:
        ToolMissing: if the simulator or its compiler is not installed.
        BuildFailed: if the Verilog is refused.
        DeviceError: if the simulation does not start, or dies later.
        ValueError: for waves with a simulator that cannot write them, or an unknown bus.
    """

    def __init__(
        self,
        params: RLUParams,
        *,
        bus: str = "none",
        simulator: Simulator = "verilator",
        verilog: Path | None = None,
        record: bool = False,
        waves: Path | None = None,
    ) -> None:
        if waves is not None and simulator != "verilator":
            raise ValueError(f"waveforms are written with the simulator verilator, not {simulator}")
        self.params = params
        self.cycle = 0  # clock cycles simulated so far
        self._events: list[tuple[int, int]] = []
        self._accesses: list[tuple[int, int, int, int]] = []
        self._waves = waves
        tool_environment(simulator)  # fails here, before anything is made, if a tool is missing
        toplevel = front_end(bus).top
        source = verilog or generated_verilog(params, bus)
        # Recording spends its time in Python: compiling faster saves more than the slower simulation costs.
        folder = built(
            source, simulator, toplevel=toplevel, waves=waves is not None, quick=record, ports=_ports(source, toplevel)
        )
        self._scratch = contextlib.ExitStack()
        self._folder = self._scratch.enter_context(scratch_folder("rlu-sim-", temporary_folder()))
        self._connection: Connection[Any, Any] | None = None
        variables = {
            "RLU_BUS": bus,
            "RLU_HANG_CYCLES": str(20_000 + 4 * longest_plan_cycles(params)),
            "RLU_SOCKET": str(self._folder / "socket"),
            "RLU_RECORD": "1" if record else "0",
            "RLU_PROBE_VALID": str(_valid_mask(params)) if record else "0",
            "COCOTB_LOG_LEVEL": "WARNING",
        }
        command, environment = simulation_child(
            "sim.simulators.server",
            toplevel,
            folder,
            self._folder,
            variables,
            simulator=simulator,
            waves=waves is not None,
        )
        try:
            self._start(command, environment)
        except BaseException:  # Ctrl-C before the caller can close the device
            self._scratch.close()
            raise

    def _start(self, command: Sequence[str], environment: dict[str, str]) -> None:
        with socket.socket(socket.AF_UNIX) as listener, (self._folder / "log").open("w") as log:
            listener.bind(str(self._folder / "socket"))
            listener.listen(1)
            child: subprocess.Popen[bytes] | None = None
            try:
                with signals_wait():  # a process that nobody knows would be left, and nobody would end it
                    child = self._child = subprocess.Popen(
                        command,
                        env=environment,
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,  # Ctrl-C goes to the host, which then ends the simulation
                    )
                self._connection = self._accept(listener)
            except BaseException:
                if child is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
                raise

    def _accept(self, listener: socket.socket) -> Connection[Any, Any]:
        listener.settimeout(0.2)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._child.poll() is None:
            with contextlib.suppress(TimeoutError):
                link, _ = listener.accept()
                link.setblocking(True)
                return Connection(link.detach())
        raise self._death("the simulation did not start")

    def transact(self, ops: Sequence[Op]) -> list[int]:
        """Carry out ``ops`` in order; returns the words read. Raises DeviceError if the simulation is gone."""
        if self._connection is None:
            raise DeviceError("the simulation is closed")
        check_ops(ops)
        try:
            self._connection.send([tuple(op) for op in ops])
            answers, events, accesses, self.cycle = self._connection.recv()
        except (EOFError, OSError):
            raise self._death("the simulator died") from None
        except BaseException:
            self.close()  # otherwise the next transaction would get the answer to this one
            raise
        self._events += events
        self._accesses += accesses
        return list(answers)

    def events(self) -> list[tuple[int, Event]]:
        """Events of the unit since the last call, in order, each with its clock cycle."""
        events, self._events = self._events, []
        return [(cycle, event) for cycle, probe in events for event in decode_probe(self.params, probe)]

    def accesses(self) -> list[tuple[int, Pins]]:
        """Clock cycle and outputs of every access since the last call, in order; only if recording, own bus only."""
        accesses, self._accesses = self._accesses, []
        return [(cycle, Pins(*levels)) for cycle, *levels in accesses]

    def close(self) -> None:
        """End the simulation."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.send(None)
            self._connection.close()
            self._connection = None
        self._end()

    def __enter__(self) -> SimDevice:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def process_id(self) -> int:
        """Process group of the simulation."""
        return self._child.pid

    def _end(self) -> None:
        try:
            self._child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        dump = self._folder / "dump.vcd"
        if self._waves is not None and dump.exists():
            self._waves.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(dump, self._waves)
        self._scratch.close()

    def _death(self, what: str) -> DeviceError:
        """Close the simulation and return an error with the end of its log."""
        log = self._folder / "log"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=2)
        said = log.read_text(errors="replace").strip().splitlines()[-8:] if log.exists() else []
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._end()
        return DeviceError("\n".join([f"{what} (exit code {self._child.returncode}); its log ends with:", *said]))


def decode_probe(params: RLUParams, probe: int) -> list[Event]:
    """The events that one cycle of the probe port shows."""
    fields = _probe_fields(params)

    def field(name: str) -> int:
        lsb, width = fields[name]
        return probe >> lsb & ((1 << width) - 1)

    def q_value(name: str) -> int:
        value = field(name)
        return value - (1 << params.q_width) if value >> (params.q_width - 1) else value

    events: list[Event] = []
    if field("draw"):
        events.append(Draw(field("draw_row"), field("draw_decision"), field("draw_choice")))
    if field("action"):
        events.append(Action(field("action_row"), field("action_value"), field("action_explored")))
    if field("write"):
        events.append(QWrite(field("write_row"), field("write_action"), q_value("write_value")))
    if field("reward"):
        events.append(RewardEvent(q_value("reward_value")))
    return events


@cache
def _probe_fields(params: RLUParams) -> dict[str, tuple[int, int]]:
    from rtl.unit.top import probe_layout  # imports Amaranth, which only recording needs

    return {name: (field.offset, field.width) for name, field in probe_layout(params)}


def _ports(verilog: Path, module: str) -> tuple[str, ...]:
    """Names of the ports of a module; none if the file has no such module, which the simulator will report."""
    found = re.search(rf"^module {module}\(([^)]*)\);", verilog.read_text(), re.MULTILINE)
    return tuple(sorted(found[1].replace(",", " ").split())) if found else ()


def _valid_mask(params: RLUParams) -> int:
    fields = _probe_fields(params)
    return sum(1 << fields[name][0] for name in ("draw", "action", "write", "reward"))
