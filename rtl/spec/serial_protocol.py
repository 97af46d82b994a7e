"""Numbers of the serial protocol, for the bridge on the board and for the host: see docs/integrate/serial.md.

Every number on the line is big-endian. A request is ``START_REQUEST``, sequence number (1 byte), session (2),
operation (1), address (2), data (4), CRC (2). A response is ``START_RESPONSE``, sequence number (1), session (2),
number of words (1), the words (4 each), status (1), CRC (2). The CRC is CRC-16/IBM-3740, over all but the start byte.
"""

from __future__ import annotations

#: First byte of a frame. Neither is the other's bit pattern shifted, and neither looks like a line at rest.
START_REQUEST = 0xA6
START_RESPONSE = 0x3B

#: Answer to OPEN: "RLS" and the version of the protocol.
PROTOCOL_NAME = 0x524C53
PROTOCOL_VERSION = 1
PROTOCOL_WORD = PROTOCOL_NAME << 8 | PROTOCOL_VERSION

#: Operations. READ: ``data`` words from ``address`` on, 0 allowed. WRITE: ``data`` to ``address``.
#: OPEN: begin the session whose number the request carries.
READ, WRITE, OPEN = range(3)
#: Added to READ or WRITE: only when the unit is not busy.
WHEN_IDLE = 0x80

#: Statuses. BUS_ERROR: the unit answered an access with ``err``. The others mean that nothing was done.
OK, BUS_ERROR, WRONG_SESSION, WRONG_SEQUENCE, WRONG_REQUEST = range(5)

#: The session of a board after a reset; no host may open it.
NO_SESSION = 0
#: Bytes of a request after its start byte, without the CRC; bytes of the CRC.
REQUEST_BYTES, CRC_BYTES = 10, 2
#: Words a single READ may ask for.
MAX_WORDS = 255

#: Bits per second, unless a board says otherwise.
DEFAULT_BAUD = 115_200
#: Bit times of silence after which the bridge forgets an unfinished frame: a power of two.
GAP_BITS = 1024


def divisor(clock_hz: float, baud: int) -> int:
    """Clock cycles per bit; ValueError if there are fewer than 4, or the rate is not met within 2 %."""
    cycles = round(clock_hz / baud) if baud > 0 else 0
    if cycles < 4 or abs(clock_hz / cycles / baud - 1) > 0.02:
        raise ValueError(
            f"a clock of {clock_hz / 1e6:g} MHz cannot make {baud} baud within 2 %: choose a rate from 300 to "
            f"{int(clock_hz // 10)}, such as {DEFAULT_BAUD}"
        )
    return cycles
