"""Frames of the serial protocol, both ways: bytes from requests and responses, and back."""

from __future__ import annotations

import binascii
import struct
from typing import NamedTuple

from rtl.spec.serial_protocol import CRC_BYTES, MAX_WORDS, REQUEST_BYTES, START_REQUEST, START_RESPONSE

_REQUEST = struct.Struct(">BHBHI")
_HEADER = struct.Struct(">BHB")
_MOST_BYTES = 1 + _HEADER.size + 4 * MAX_WORDS + 1 + CRC_BYTES


class Request(NamedTuple):
    """The host's request: one READ of some words, one WRITE, or OPEN."""

    sequence: int
    session: int
    operation: int
    address: int = 0
    data: int = 0


class Response(NamedTuple):
    """The bridge's answer."""

    sequence: int
    session: int
    words: tuple[int, ...]
    status: int


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740: polynomial 0x1021, starting from 0xFFFF, neither reflected nor inverted."""
    return binascii.crc_hqx(data, 0xFFFF)


def request_frame(request: Request) -> bytes:
    """The bytes of a request."""
    return _framed(START_REQUEST, _REQUEST.pack(*request))


def response_frame(response: Response) -> bytes:
    """The bytes of a response."""
    sequence, session, words, status = response
    header = _HEADER.pack(sequence, session, len(words))
    return _framed(START_RESPONSE, header + b"".join(word.to_bytes(4, "big") for word in words) + bytes([status]))


def parsed_request(frame: bytes) -> Request | None:
    """The inverse of `request_frame`; ``None`` for anything else."""
    if len(frame) != 1 + REQUEST_BYTES + CRC_BYTES or frame[0] != START_REQUEST or crc16(frame[1:]):
        return None
    return Request(*_REQUEST.unpack(frame[1:-CRC_BYTES]))


def take_response(received: bytearray) -> Response | None:
    """Remove the first whole response, and everything before it, from the bytes received; ``None`` if there is none.

    A start byte may be garbage, and what looks like an unfinished frame may contain a whole one, so each is tried.
    """
    start = received.find(START_RESPONSE)
    while start >= 0:
        header = received[start + 1 : start + 1 + _HEADER.size]
        if len(header) == _HEADER.size:
            sequence, session, count = _HEADER.unpack(header)
            end = start + 1 + _HEADER.size + 4 * count + 1 + CRC_BYTES
            body = bytes(received[start + 1 : end])
            if end <= len(received) and crc16(body) == 0:
                del received[:end]
                words = struct.unpack_from(f">{count}I", body, _HEADER.size)
                return Response(sequence, session, words, body[-1 - CRC_BYTES])
        start = received.find(START_RESPONSE, start + 1)
    del received[:-_MOST_BYTES]
    return None


def request_size() -> int:
    """Bytes of a request."""
    return 1 + REQUEST_BYTES + CRC_BYTES


def response_size(words: int) -> int:
    """Bytes of a response with ``words`` words."""
    return 1 + _HEADER.size + 4 * words + 1 + CRC_BYTES


def _framed(start: int, content: bytes) -> bytes:
    return bytes([start]) + content + crc16(content).to_bytes(CRC_BYTES, "big")
