"""Serial line, one byte at a time: 8 data bits, no parity, 1 stop bit, least significant bit first."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out


class UartReceiver(wiring.Component):
    """Receives bytes; samples each bit in its middle.

    A byte is complete half a bit into its stop bit, so the next start bit may follow at once. A start bit
    shorter than half a bit is noise.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    pin : In(1)
        The line, not synchronised; high at rest.
    data : Out(8)
        The byte, while ``valid`` is high.
    valid : Out(1)
        High for one cycle for every byte.
    broken : Out(1)
        High for one cycle for a byte without a stop bit, instead of ``valid``.
    """

    def __init__(self, divisor: int):
        self.divisor = divisor
        super().__init__({"pin": In(1, init=1), "data": Out(8), "valid": Out(1), "broken": Out(1)})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules += FFSynchronizer(self.pin, line, init=1)
        timer = Signal(range(self.divisor))
        left = Signal(range(11))  # bits to come, including start and stop bit
        m.d.sync += [self.valid.eq(0), self.broken.eq(0)]
        with m.If(left == 0):
            m.d.sync += timer.eq(self.divisor // 2 - 1)
            with m.If(~line):
                m.d.sync += left.eq(10)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self.divisor - 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += [self.valid.eq(line), self.broken.eq(~line)]
            with m.Elif((left == 10) & line):
                m.d.sync += left.eq(0)
            with m.Else():
                m.d.sync += self.data.eq(Cat(self.data[1:], line))  # the start bit is shifted out
        return m


class UartTransmitter(wiring.Component):
    """Sends bytes, back to back if more are waiting.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit.

    Members
    -------
    bytes : In(stream.Signature(8))
        Bytes to send; one is taken every ten bits.
    pin : Out(1)
        The line; high at rest.
    """

    def __init__(self, divisor: int):
        self.divisor = divisor
        super().__init__({"bytes": In(stream.Signature(8)), "pin": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        shift = Signal(9, init=-1)
        timer = Signal(range(self.divisor))
        left = Signal(range(11))
        m.d.comb += [self.pin.eq(shift[0]), self.bytes.ready.eq(left == 0)]
        with m.If(left == 0):
            m.d.sync += timer.eq(self.divisor - 1)
            with m.If(self.bytes.valid):
                m.d.sync += [shift.eq(Cat(Const(0, 1), self.bytes.payload)), left.eq(10)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self.divisor - 1), left.eq(left - 1), shift.eq(Cat(shift[1:], Const(1, 1)))]
        return m
