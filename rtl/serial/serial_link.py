"""Serial link: turns checked frames on a serial line into accesses of the unit's bus. See docs/integrate/serial.md."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import crc, wiring
from amaranth.lib.wiring import In, Out

from rtl.serial.uart import UartReceiver, UartTransmitter
from rtl.spec.buses import ADDRESS_WIDTH
from rtl.spec.serial_protocol import (
    BUS_ERROR,
    CRC_BYTES,
    GAP_BITS,
    NO_SESSION,
    OK,
    OPEN,
    PROTOCOL_WORD,
    READ,
    REQUEST_BYTES,
    START_REQUEST,
    START_RESPONSE,
    WHEN_IDLE,
    WRITE,
    WRONG_REQUEST,
    WRONG_SEQUENCE,
    WRONG_SESSION,
)
from rtl.unit.register_file import BUS

# Bytes of a response, by the state that sends them.
_HEADER = 5


class SerialLink(wiring.Component):
    """Master of the unit's bus that takes its orders from a serial line.

    One request is served at a time; bytes that arrive meanwhile are lost, and the host sends them again. A frame with
    a wrong CRC, a missing stop bit or a gap of ``gap_bits`` bit times gets no answer. A response begins 4 cycles after
    the request's last byte is received, plus the access of a WRITE and the wait for the unit. Its bytes follow one
    another without a pause, except while the unit answers a READ.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit of the line, at least 4.
    gap_bits : int
        Bit times of silence that end an unfinished request.

    Members
    -------
    rx, tx : In(1), Out(1)
        The serial line; ``rx`` need not be synchronised.
    bus : Out(BUS)
        To the unit.
    busy : In(1)
        From the unit.
    unit_reset : Out(1)
        High for one cycle when a session begins, to reset the unit.
    active : Out(1)
        A request is being received, served or answered.
    fault : Out(1)
        The last request was dropped or refused.
    """

    def __init__(self, divisor: int, gap_bits: int = GAP_BITS):
        self.divisor, self.gap_bits = divisor, gap_bits
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "bus": Out(BUS),
                "busy": In(1),
                "unit_reset": Out(1),
                "active": Out(1),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        m.submodules.crc = check = crc.Processor(crc.catalog.CRC16_IBM_3740(data_width=8))
        out = transmitter.bytes
        sent = Signal()
        m.d.comb += [
            receiver.pin.eq(self.rx),
            self.tx.eq(transmitter.pin),
            sent.eq(out.valid & out.ready),
        ]

        # The request shifts in from the right; at the end its fields are in place.
        sequence, session, operation, address, word = (
            Signal(8, name="request_sequence"),
            Signal(16, name="request_session"),
            Signal(8, name="operation"),
            Signal(16, name="address"),
            Signal(32, name="word"),
        )
        request = Cat(word, address, operation, session, sequence)
        assert len(request) == 8 * REQUEST_BYTES
        # The session, and the last request of it that was carried out.
        open_session = Signal(16, init=NO_SESSION)
        last_sequence = Signal(8)
        last_error = Signal()

        position = Signal(range(REQUEST_BYTES + CRC_BYTES))  # of a byte within its part of a frame
        words = Signal(8)  # of the response, and still to be sent
        left = Signal(8)
        status = Signal(3)
        repeated = Signal()
        gap = Signal(range(self.gap_bits * self.divisor))
        m.d.comb += [
            bus.addr.eq(address),
            bus.wdata.eq(word),
            self.active.eq(1),
        ]

        with m.FSM():
            with m.State("rest"):
                m.d.comb += [self.active.eq(0), check.start.eq(1)]
                m.d.sync += [position.eq(0), gap.eq(0)]
                with m.If(receiver.valid & (receiver.data == START_REQUEST)):
                    m.next = "receive"

            with m.State("receive"):
                m.d.comb += [check.data.eq(receiver.data), check.valid.eq(receiver.valid)]
                m.d.sync += gap.eq(gap + 1)
                with m.If(receiver.valid):
                    m.d.sync += [position.eq(position + 1), gap.eq(0)]
                    with m.If(position < REQUEST_BYTES):
                        m.d.sync += request.eq(Cat(receiver.data, request[:-8]))
                    with m.If(position == REQUEST_BYTES + CRC_BYTES - 1):
                        m.next = "judge"
                with m.Elif(receiver.broken | (gap == self.gap_bits * self.divisor - 1)):
                    m.d.sync += self.fault.eq(1)
                    m.next = "rest"

            with m.State("judge"):
                m.d.sync += [self.fault.eq(0), words.eq(0), left.eq(0), repeated.eq(0), position.eq(0)]
                with m.If(~check.match_detected):
                    m.d.sync += self.fault.eq(1)
                    m.next = "rest"
                with m.Elif(operation == OPEN):
                    m.next = "open"
                with m.Else():
                    m.d.sync += [status.eq(OK), repeated.eq(sequence == last_sequence)]
                    is_read, is_write = (operation | WHEN_IDLE) == READ | WHEN_IDLE, Signal()
                    m.d.comb += is_write.eq((operation | WHEN_IDLE) == WRITE | WHEN_IDLE)
                    m.next = "refuse"
                    with m.If((session != open_session) | (session == NO_SESSION)):
                        m.d.sync += status.eq(WRONG_SESSION)
                    with m.Elif((sequence != last_sequence) & (sequence != (last_sequence + 1)[:8])):
                        m.d.sync += status.eq(WRONG_SEQUENCE)
                    with m.Elif(~(is_read | is_write) | address[ADDRESS_WIDTH:].any()):
                        m.d.sync += status.eq(WRONG_REQUEST)
                    with m.Else():
                        m.d.sync += last_sequence.eq(sequence)
                        with m.If(is_read):
                            m.d.sync += [words.eq(word), left.eq(word)]
                        m.next = "wait"

            with m.State("refuse"):
                m.d.sync += self.fault.eq(1)
                m.next = "header"

            with m.State("open"):
                # A second copy of the request must not end the session that the first one opened.
                m.d.sync += [status.eq(OK), words.eq(1), left.eq(1), word.eq(PROTOCOL_WORD)]
                m.next = "header"
                with m.If(session == NO_SESSION):
                    m.d.sync += [status.eq(WRONG_SESSION), words.eq(0), left.eq(0)]
                    m.next = "refuse"
                with m.Elif(session != open_session):
                    m.d.sync += [open_session.eq(session), last_sequence.eq(sequence)]
                    m.d.comb += self.unit_reset.eq(1)

            with m.State("wait"), m.If(~(operation[7] & self.busy)):
                m.next = "header"
                with m.If((operation[:2] == WRITE) & repeated):
                    m.d.sync += status.eq(Mux(last_error, BUS_ERROR, OK))
                with m.Elif(operation[:2] == WRITE):
                    m.next = "write"

            with m.State("write"):
                m.d.comb += [bus.req.eq(1), bus.we.eq(1)]
                with m.If(bus.ack):
                    m.d.sync += last_error.eq(bus.err)
                    with m.If(bus.err):
                        m.d.sync += status.eq(BUS_ERROR)
                    m.next = "header"

            with m.State("header"):
                m.d.comb += [out.valid.eq(1), check.start.eq(position == 0), check.valid.eq(sent & (position != 0))]
                header = (Const(START_RESPONSE, 8), sequence, open_session[8:], open_session[:8], words)
                with m.Switch(position):
                    for i, byte in enumerate(header):
                        with m.Case(i):
                            m.d.comb += out.payload.eq(byte)
                with m.If(sent):
                    m.d.sync += position.eq(position + 1)
                    with m.If(position == _HEADER - 1):
                        m.d.sync += position.eq(0)
                        m.next = "next"

            with m.State("next"):
                with m.If(left == 0):
                    m.next = "status"
                with m.Elif(operation == OPEN):
                    m.next = "word"
                with m.Else():
                    m.next = "read"

            with m.State("read"):
                m.d.comb += bus.req.eq(1)
                with m.If(bus.ack):
                    m.d.sync += [word.eq(bus.rdata), address.eq(address + 4)]
                    with m.If(bus.err):
                        m.d.sync += status.eq(BUS_ERROR)
                    m.next = "word"

            with m.State("word"):
                m.d.comb += [out.valid.eq(1), out.payload.eq(word[-8:]), check.valid.eq(sent)]
                with m.If(sent):
                    m.d.sync += [word.eq(word << 8), position.eq(position + 1)]
                    with m.If(position == 3):
                        m.d.sync += [position.eq(0), left.eq(left - 1)]
                        m.next = "next"

            with m.State("status"):
                m.d.comb += [out.valid.eq(1), out.payload.eq(status), check.valid.eq(sent)]
                with m.If(sent):
                    m.next = "crc"

            with m.State("crc"):
                m.d.comb += [out.valid.eq(1), out.payload.eq(Mux(position[0], check.crc[:8], check.crc[8:]))]
                with m.If(sent):
                    m.d.sync += position.eq(position + 1)
                    with m.If(position[0]):
                        m.next = "rest"

        with m.If(out.valid):
            m.d.comb += check.data.eq(out.payload)
        return m
