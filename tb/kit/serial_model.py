"""Reference model of `rtl.serial.serial_link`: its answers to the bytes of a line."""

from __future__ import annotations

from typing import Protocol

from rtl.spec.buses import ADDRESS_WIDTH
from rtl.spec.params import RLUParams
from rtl.spec.serial_protocol import (
    BUS_ERROR,
    CRC_BYTES,
    NO_SESSION,
    OK,
    OPEN,
    PROTOCOL_WORD,
    READ,
    REQUEST_BYTES,
    START_REQUEST,
    WHEN_IDLE,
    WRITE,
    WRONG_REQUEST,
    WRONG_SEQUENCE,
    WRONG_SESSION,
)
from sim.devices.device import GoldenDevice
from sim.devices.serial_frames import Request, Response, parsed_request

_FRAME = 1 + REQUEST_BYTES + CRC_BYTES


class Unit(Protocol):
    """The unit behind the link."""

    def access(self, address: int, value: int | None) -> tuple[int, bool]:
        """Write ``value``, or read if it is ``None``: the word read, and whether the unit answers with ``err``."""
        ...

    def reset(self) -> None:
        """Reset the unit."""
        ...


class GoldenUnit:
    """The golden model as the unit; a reset does not change its memories.

    Args:
        params: parameters of the unit.
    """

    def __init__(self, params: RLUParams) -> None:
        self._device = _Noting(params)

    def access(self, address: int, value: int | None) -> tuple[int, bool]:
        """One access of the bus."""
        device = self._device
        device.failed = False
        if value is None:
            return device.read(address), device.failed
        device.write(address, value)
        return 0, device.failed

    def reset(self) -> None:
        """Reset the registers."""
        old, self._device = self._device, _Noting(self._device.params)
        for memory in ("q", "policy", "counts"):
            setattr(self._device.model, memory, getattr(old.model, memory))


class _Noting(GoldenDevice):
    """A golden device that reports a refused access, as the bus does."""

    failed = False

    def _set_flag(self, name: str) -> None:
        super()._set_flag(name)
        self.failed = True


class LinkModel:
    """The serial link with a unit behind it; takes a byte at a time.

    Attributes:
        accesses: the accesses on the unit's bus, in order: address and word written, or ``None`` for a read.
        resets: number of resets of the unit.
        fault: whether the last request was dropped or refused.

    Args:
        unit: the unit.
    """

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.accesses: list[tuple[int, int | None]] = []
        self.resets = 0
        self.fault = False
        self.session = NO_SESSION
        self._sequence = 0
        self._failed = False
        self._frame = bytearray()

    def reset(self) -> None:
        """Do what the board's reset does; the unit's memories do not change."""
        self.session, self.fault = NO_SESSION, False
        self._sequence = 0
        self._frame.clear()
        self.unit.reset()

    def pause(self) -> None:
        """Take a gap on the line, long enough to end an unfinished request."""
        self.fault |= bool(self._frame)
        self._frame.clear()

    def broken(self) -> None:
        """Take a byte without its stop bit."""
        self.pause()

    def take(self, byte: int) -> Response | None:
        """Take one byte from the host; returns the response, if the byte ends a request that gets one."""
        if not self._frame and byte != START_REQUEST:
            return None
        self._frame.append(byte)
        if len(self._frame) < _FRAME:
            return None
        request = parsed_request(bytes(self._frame))
        self._frame.clear()
        self.fault = request is None
        return None if request is None else self._serve(request)

    def _serve(self, request: Request) -> Response:
        operation = request.operation & ~WHEN_IDLE
        if request.operation == OPEN:
            if request.session == NO_SESSION:
                return self._refuse(request, WRONG_SESSION)
            if request.session != self.session:
                self.session, self._sequence = request.session, request.sequence
                self.unit.reset()
                self.resets += 1
            return Response(request.sequence, self.session, (PROTOCOL_WORD,), OK)
        if request.session == NO_SESSION or request.session != self.session:
            return self._refuse(request, WRONG_SESSION)
        repeated = request.sequence == self._sequence
        if not repeated and request.sequence != self._sequence + 1 & 0xFF:
            return self._refuse(request, WRONG_SEQUENCE)
        if operation not in (READ, WRITE) or request.address >> ADDRESS_WIDTH:
            return self._refuse(request, WRONG_REQUEST)
        self._sequence = request.sequence
        if operation == WRITE:
            if not repeated:
                self._failed = self._access(request.address, request.data)[1]
            return Response(request.sequence, self.session, (), BUS_ERROR if self._failed else OK)
        answers = [self._access(request.address + 4 * i, None) for i in range(request.data & 0xFF)]
        status = BUS_ERROR if any(failed for _, failed in answers) else OK
        return Response(request.sequence, self.session, tuple(word for word, _ in answers), status)

    def _refuse(self, request: Request, status: int) -> Response:
        self.fault = True
        return Response(request.sequence, self.session, (), status)

    def _access(self, address: int, value: int | None) -> tuple[int, bool]:
        """One bus access: the word read, and whether the unit answered with ``err``."""
        address &= (1 << ADDRESS_WIDTH) - 1
        self.accesses.append((address, value))
        return self.unit.access(address, value)
