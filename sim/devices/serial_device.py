"""A board on a serial port as a device.

docs/integrate/serial.md describes the protocol; its numbers are in `rtl.spec.serial_protocol`.

There is one request at a time. If it is lost or damaged, it is sent again under the same sequence number, and the
board carries it out only once. If that does not help, or if the board was reset, there is a `DeviceError`, never a
wrong answer.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from rtl.spec.serial_protocol import (
    BUS_ERROR,
    DEFAULT_BAUD,
    GAP_BITS,
    OK,
    OPEN,
    PROTOCOL_NAME,
    PROTOCOL_VERSION,
    WHEN_IDLE,
    WRONG_SEQUENCE,
    WRONG_SESSION,
)
from rtl.spec.serial_protocol import READ as READ_WORDS
from rtl.spec.serial_protocol import WRITE as WRITE_WORD
from sim.devices.device import READ, RESET, WAIT, WRITE, DeviceError, Op, check_ops
from sim.devices.serial_frames import Request, Response, request_frame, request_size, response_size, take_response
from sim.files import ToolMissing

#: Words of one READ: enough to make the delay of a round trip small, few enough to repeat.
_BURST = 64
_BITS_A_BYTE = 10
#: Time for the operating system and the USB converter, whose buffers delay bytes by up to 16 ms each way.
_SLACK_SECONDS = 0.15
#: From the third on, each waits twice as long as the one before: 6 s in all.
_ATTEMPTS = 6
_NO_PYSERIAL = "pyserial is not installed: pip install pyserial"


class Line(Protocol):
    """A serial line; tests replace it by a damaged one. Any OSError means that it is gone."""

    def write(self, data: bytes) -> None:
        """Send all of it."""
        ...

    def read(self, seconds: float) -> bytes:
        """Return what has arrived as soon as there is anything; nothing after ``seconds``."""
        ...

    def close(self) -> None:
        """Close the line."""
        ...


class SerialDevice:
    """An RL unit on a board; same registers as any other device.

    Connecting begins a session and resets the unit. Only one host can have a session, and a reset of the board ends
    it. So the host notices both another host and a reset.

    Attributes:
        refused: accesses of the last transaction that the unit answered with ``err``; the registers' sticky flags
            say why.
        repeats: requests that had to be sent again so far.

    Args:
        address: the port, such as ``/dev/ttyUSB0``, or ``/dev/ttyUSB0@1000000`` for a board with another rate.
        line: an open line to use in place of the port that ``address`` names.
        slack_seconds: how long an answer may take beyond the time for its bits.

    Raises:
        DeviceError: if there is no such port, or no RL unit's serial link answers there.
        ToolMissing: if pyserial is not installed.
        ValueError: for a rate that is not a number.
    """

    def __init__(self, address: str, *, line: Line | None = None, slack_seconds: float = _SLACK_SECONDS) -> None:
        self._port, self._baud = split_address(address)
        self._slack = slack_seconds
        self._received = bytearray()
        self._line: Line | None = line or _Port(self._port, self._baud)
        self._session = 1 + secrets.randbelow(0xFFFF)
        self._sequence = 0
        self.refused: list[Op] = []
        self.repeats = 0
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def transact(self, ops: Sequence[Op]) -> list[int]:
        """Carry out ``ops`` in order; returns the words read. Raises DeviceError if the board is gone or was reset."""
        check_ops(ops)
        if any(op.kind == RESET for op in ops):
            raise ValueError("a board's unit is reset by a new connection, not by an operation")
        if self._line is None:
            raise DeviceError(f"the serial port {self._port} is closed")
        self.refused = []
        words: list[int] = []
        try:
            for request, asked in self._requests(ops):
                response = self._exchange(request, len(asked) if request.operation & 3 == READ_WORDS else 0)
                words += response.words
                if response.status == BUS_ERROR:
                    self.refused += asked
        except BaseException:
            self.close()  # it is unknown whether the board has carried out the last request
            raise
        return words

    def close(self) -> None:
        """Close the port."""
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.close()
            self._line = None

    def __enter__(self) -> SerialDevice:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _requests(self, ops: Sequence[Op]) -> Iterator[tuple[Request, list[Op]]]:
        """Requests for ``ops``, each with its accesses; a wait and reads of consecutive words become one request."""
        i, when_idle = 0, 0
        while i < len(ops):
            op, asked = ops[i], [ops[i]]
            i += 1
            if op.kind == WAIT:
                when_idle = WHEN_IDLE
                if i == len(ops):
                    yield self._next(READ_WORDS | when_idle, 0, 0), []
                continue
            if op.kind == WRITE:
                yield self._next(WRITE_WORD | when_idle, op.address, op.value), asked
            else:
                while i < len(ops) and len(asked) < _BURST and ops[i] == Op(READ, asked[-1].address + 4):
                    asked.append(ops[i])
                    i += 1
                yield self._next(READ_WORDS | when_idle, op.address, len(asked)), asked
            when_idle = 0

    def _next(self, operation: int, address: int, data: int) -> Request:
        self._sequence = self._sequence + 1 & 0xFF
        return Request(self._sequence, self._session, operation, address, data)

    def _open(self) -> None:
        heard = bytearray()
        request = Request(self._sequence, self._session, OPEN)
        response = self._answer(request, 1, heard)
        if response is None:
            raise DeviceError(self._stranger(request, bytes(heard)))
        name, version = divmod(response.words[0], 256) if response.words else (0, 0)
        if name != PROTOCOL_NAME:
            raise DeviceError(f"what answers on {self._port} is not the serial link of an RL unit")
        if version != PROTOCOL_VERSION:
            raise DeviceError(
                f"the board on {self._port} speaks version {version} of the serial protocol, this program version "
                f"{PROTOCOL_VERSION}: write its bitstream again with `rlu fpga` of this version"
            )
        self._check(response, 1)

    def _stranger(self, request: Request, heard: bytes) -> str:
        """The error for a port on which nothing answered properly."""
        if not heard:
            return (
                f"nothing answers on {self._port} at {self._baud} baud: is the board powered, its bitstream loaded "
                f"(`rlu fpga`), and this its port and rate?"
            )
        if request_frame(request) in heard:
            return f"{self._port} sends back what it receives: there is a loop-back on it, not a board"
        return (
            f"what answers on {self._port} at {self._baud} baud is not the serial link of an RL unit: it sent "
            f"{heard[:16].hex(' ')}{' ...' if len(heard) > 16 else ''}; is this the right port and rate?"
        )

    def _exchange(self, request: Request, words: int) -> Response:
        response = self._answer(request, words, bytearray())
        if response is None:
            raise DeviceError(
                f"the board on {self._port} does not answer any more: {_ATTEMPTS} requests were lost or damaged"
            )
        self._check(response, words)
        return response

    def _check(self, response: Response, words: int) -> None:
        """Raise DeviceError for a refusal: the board did nothing, and a repeat would not help."""
        if response.status == WRONG_SESSION:
            raise DeviceError(
                f"the board on {self._port} was reset: its RL unit has forgotten the task"
                if response.session == 0
                else f"another program has taken over the board on {self._port}"
            )
        if response.status == WRONG_SEQUENCE:
            raise DeviceError(f"the board on {self._port} is out of step: does another program write to it?")
        if response.status not in (OK, BUS_ERROR) or len(response.words) != words:
            raise DeviceError(f"the board on {self._port} does not know a request of this program")

    def _answer(self, request: Request, words: int, heard: bytearray) -> Response | None:
        """Send a request, again if needed; returns the response, or ``None``. Adds received bytes to ``heard``."""
        bits = _BITS_A_BYTE * (request_size() + response_size(words))
        # Wait until the bridge has forgotten a request that arrived only in part.
        patience = (bits + GAP_BITS) / self._baud + self._slack
        frame = request_frame(request)
        for attempt in range(_ATTEMPTS):
            self.repeats += attempt > 0
            try:
                self._line_in_use.write(frame)
                deadline = time.monotonic() + patience * 2 ** max(0, attempt - 1)
                while (left := deadline - time.monotonic()) > 0:
                    arrived = self._line_in_use.read(left)
                    heard += arrived[: 4096 - len(heard)]
                    self._received += arrived
                    while (response := take_response(self._received)) is not None:
                        if self._is_answer(response, request, words):
                            return response
            except OSError as error:
                raise DeviceError(f"the serial port {self._port} is gone: {error}") from None
            self._received.clear()
        return None

    def _is_answer(self, response: Response, request: Request, words: int) -> bool:
        """Whether a response belongs to the request, and is not a late one to an earlier request."""
        if response.sequence != request.sequence:
            return False
        if response.status in (OK, BUS_ERROR):
            return response.session == request.session and len(response.words) == words
        return not response.words

    @property
    def _line_in_use(self) -> Line:
        assert self._line is not None
        return self._line


class _Port:
    """A serial port of the operating system, through pyserial."""

    def __init__(self, port: str, baud: int) -> None:
        try:
            import serial  # type: ignore[import-untyped]
        except ModuleNotFoundError:
            raise ToolMissing(_NO_PYSERIAL) from None
        try:
            self._serial: Any = serial.Serial(port, baud, timeout=0, write_timeout=5, exclusive=True)
        except (OSError, ValueError) as error:
            raise DeviceError(f"the serial port {port} cannot be opened: {error}; there are: {_ports()}") from None
        with contextlib.suppress(OSError, ValueError, NotImplementedError, AttributeError):
            self._serial.set_low_latency_mode(True)  # only real ports have it
        self._serial.reset_input_buffer()

    def write(self, data: bytes) -> None:
        self._serial.write(data)

    def read(self, seconds: float) -> bytes:
        self._serial.timeout = seconds
        first: bytes = self._serial.read(1)
        self._serial.timeout = 0
        return first + self._serial.read(4096) if first else b""

    def close(self) -> None:
        self._serial.close()


def split_address(address: str) -> tuple[str, int]:
    """Port and bits per second of ``PORT`` or ``PORT@BAUD``; ValueError for anything else."""
    port, at, rate = address.rpartition("@")
    if not at and address:
        return address, DEFAULT_BAUD
    if not rate.isdecimal() or not int(rate) or not port:
        raise ValueError(f"a serial port is PORT or PORT@BAUD, such as /dev/ttyUSB0@{DEFAULT_BAUD}, not {address!r}")
    return port, int(rate)


def check_port(address: str) -> None:
    """Raise at once what `SerialDevice` would raise for a port that cannot be opened."""
    port, baud = split_address(address)
    path = Path(port)
    if "://" not in port and not port.upper().startswith("COM"):
        if not path.exists():
            raise DeviceError(f"no serial port {port}; the ports here are: {_ports()}")
        if not path.is_char_device():
            what = "folder" if path.is_dir() else "file"
            raise DeviceError(f"{port} is a {what}, not a serial port; there are: {_ports()}")
    _Port(port, baud).close()


def _ports() -> str:
    """Names of the serial ports of this machine."""
    try:
        from serial.tools.list_ports import comports  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise ToolMissing(_NO_PYSERIAL) from None
    return ", ".join(sorted(port.device for port in comports())) or "none (is the board connected?)"
