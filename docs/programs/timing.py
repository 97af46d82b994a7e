"""Timing diagrams of the blocks, drawn from simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Value

from docs.programs.waveform import Recorder, bit, hexadecimal, number
from rtl.bus.apb import ApbRLU
from rtl.bus.axi4lite import OKAY, SLVERR, AXI4LiteRLU
from rtl.bus.wishbone import WishboneRLU
from rtl.spec.buses import front_end
from rtl.spec.params import RLUParams
from rtl.spec.registers import CLEAR, POLICY, Q_TABLE, REWARD, SAMPLE, UPDATE, field_of
from rtl.unit.policy_store import PolicyStore
from rtl.unit.q_table import QTable
from rtl.unit.reward import RewardCalculator
from rtl.unit.row_max import RowMax
from rtl.unit.row_reader import LATENCY, RowReader
from rtl.unit.top import RLU
from sim.devices.device import address_of
from sim.devices.episodic import Episodic, variant_registers

AXI_RESPONSES = {OKAY: "OKAY", SLVERR: "SLVERR"}


def _opened(component: Any) -> Any:
    """The blocks of a component, which uses the same ones when it is elaborated."""
    module = component.elaborate(None)
    component.elaborate = lambda platform: module
    return module.submodules


class _Unit:
    """A whole unit with access to its blocks, and a master for its bus.

    Attributes:
        design: the simulated unit.
        registers, core, updater, sampler, reader: its blocks.
        core_blocks: all blocks of the core, by name.
    """

    def __init__(self, params: RLUParams) -> None:
        self.design = RLU(params)
        blocks = _opened(self.design)
        self.registers, self.core = blocks.registers, blocks.core
        self.core_blocks = blocks = _opened(self.core)
        self.updater, self.sampler, self.reader = blocks.updater, blocks.sampler, blocks.row_reader

    async def access(self, recorder: Recorder, address: int, value: int | None = None, *, drawn: bool = False) -> None:
        """One bus access, from the request to the acknowledge."""
        bus = self.design.bus
        step = recorder.cycle if drawn else recorder.skip
        recorder.set(((bus.req, 1), (bus.we, int(value is not None)), (bus.addr, address)))
        recorder.set(((bus.wdata, (value or 0) & 0xFFFF_FFFF),))
        await step()
        while not recorder.get(bus.ack):
            await step()
        await step()
        recorder.set(((bus.req, 0), (bus.we, 0), (bus.addr, 0), (bus.wdata, 0)))

    async def write(self, recorder: Recorder, name: str, value: int, *, drawn: bool = False) -> None:
        """Write a register, and wait for the end of the division that STATES and REWARD start."""
        await self.access(recorder, address_of(name), value, drawn=drawn)
        while not drawn and recorder.get(self.design.busy):
            await recorder.skip()

    async def write_table(self, recorder: Recorder, rows: Sequence[Sequence[int]]) -> None:
        """Fill the first rows of the Q-table."""
        for row, values in enumerate(rows):
            addresses = Q_TABLE.addresses(1, len(values), first=row)
            for address, word in zip(addresses, Q_TABLE.pack(values), strict=True):
                await self.access(recorder, address, word)


def _register_file() -> str:
    unit = _Unit(RLUParams(states=2, actions=2))
    bus, registers = unit.design.bus, unit.registers
    recorder = Recorder(
        unit.design,
        [
            bit(bus.req, "req"),
            bit(bus.we, "we"),
            number(bus.addr, "addr", when=bus.req, text=hexadecimal),
            number(bus.wdata, "wdata", when=bus.req & bus.we, text=hexadecimal),
            bit(bus.ack, "ack"),
            bit(bus.err, "err"),
            number(bus.rdata, "rdata", when=bus.ack & ~bus.we & ~bus.err, text=hexadecimal),
            number(registers.values.alpha, "ALPHA", text=hexadecimal),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        await unit.write_table(r, [[1, 2], [3, 4]])
        await r.cycle()
        await unit.access(r, address_of("ALPHA"), 0x1000, drawn=True)
        await unit.access(r, address_of("ALPHA"), 0x9000, drawn=True)
        await unit.access(r, Q_TABLE.address(1), drawn=True)
        await r.cycle()

    return recorder.run(stimulus)


def _q_table() -> str:
    table = QTable(RLUParams(states=4, actions=2))
    recorder = Recorder(
        table,
        [
            number(table.read_row, "read_row"),
            number(Value.cast(table.row[0]), "row[0]"),
            number(Value.cast(table.row[1]), "row[1]"),
            number(table.write_mask, "write_mask", text=lambda mask: f"{mask:02b}"),
            number(table.write_row, "write_row", when=table.write_mask.any()),
            number(table.write_even, "write_even", when=table.write_mask[0]),
            number(table.write_odd, "write_odd", when=table.write_mask[1]),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        write = (table.write_row, 1), (table.write_even, 10), (table.write_odd, 20)
        await r.cycle()
        await r.cycle((table.write_mask, 3), *write)
        await r.cycle((table.write_mask, 2), (table.write_row, 2), (table.write_odd, 30))
        await r.cycle((table.write_mask, 0), (table.read_row, 1))
        await r.cycle((table.read_row, 2))
        await r.cycle((table.read_row, 0))
        await r.cycle(times=2)

    return recorder.run(stimulus)


def _policy_store() -> str:
    store = PolicyStore(RLUParams(states=16, actions=8, action_counts=(8, 3, 3, 5, *(1,) * 12)))
    recorder = Recorder(
        store,
        [
            number(store.read_row, "read_row"),
            number(store.action, "action"),
            number(store.count, "count"),
            number(store.last, "last"),
            number(store.word, "word", text=hexadecimal),
            bit(store.write_action_en, "write_action_en"),
            bit(store.write_word_en, "write_word_en"),
            bit(store.write_count_en, "write_count_en"),
            number(
                store.write_row,
                "write_row",
                when=store.write_action_en | store.write_word_en | store.write_count_en,
            ),
            number(store.write_action, "write_action", when=store.write_action_en),
            number(store.write_word, "write_word", when=store.write_word_en, text=hexadecimal),
            number(store.write_count, "write_count", when=store.write_count_en),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        # Between the reads, row 8 is read, which is in a different word from the written ones.
        await r.cycle((store.read_row, 8))
        await r.cycle((store.write_action_en, 1), (store.write_row, 3), (store.write_action, 4))
        await r.cycle((store.write_action_en, 0), (store.read_row, 3))
        await r.cycle((store.read_row, 8), (store.write_word_en, 1), (store.write_row, 0), (store.write_word, 0x2107))
        await r.cycle((store.write_word_en, 0), (store.read_row, 0))
        await r.cycle((store.read_row, 8), (store.write_count_en, 1), (store.write_count, 6))
        await r.cycle((store.write_count_en, 0), (store.read_row, 0))
        await r.cycle(times=2)

    return recorder.run(stimulus)


def _row_max() -> str:
    block = RowMax(RLUParams(states=4, actions=4))
    entries = [Value.cast(block.row[i]) for i in range(4)]
    recorder = Recorder(
        block,
        [
            *(number(entry, f"row[{i}]") for i, entry in enumerate(entries)),
            number(block.mask, "mask", text=lambda mask: f"{mask:04b}"),
            number(block.value, "value"),
            number(block.index, "index"),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        for row, mask in (
            ((5, 9, 9, 2), 0b1111),
            ((5, 9, 9, 2), 0b1101),
            ((-5, -3, 7, 8), 0b0011),
            ((1, 1, 1, 1), 0),
        ):
            await r.cycle(*zip(entries, row, strict=True), (block.mask, mask))
        await r.cycle(times=5)

    return recorder.run(stimulus)


def _row_reader() -> str:
    block = RowReader(RLUParams(states=4, actions=4))
    entries = [Value.cast(block.row[i]) for i in range(4)]
    recorder = Recorder(
        block,
        [
            *(number(entry, f"row[{i}]") for i, entry in enumerate(entries)),
            number(block.action, "action"),
            number(block.last, "last"),
            bit(block.legal, "legal"),
            number(block.old, "old"),
            number(block.maximum, "maximum"),
            number(block.index, "index"),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        r.set(((block.others, 1), (block.last, 3)))
        for _ in range(LATENCY):
            await r.skip()
        for row, action, last in (
            ((5, 9, 7, 8), 1, 3),
            ((5, 9, 7, 8), 0, 1),
            ((-5, -3, 7, 8), 2, 1),
        ):
            await r.cycle(*zip(entries, row, strict=True), (block.action, action), (block.last, last))
        await r.cycle(times=7)

    return recorder.run(stimulus)


#: Two rows, and Q-values of eight bits, six of them fraction: short divisions and short numbers.
_SMALL = RLUParams(states=2, actions=2, q_width=8, q_frac=6)

#: The published energy-first policy in register values (docs/understand/reward.md), for two rows.
_MEASURED = {
    "accuracy": 22482, "latency": 12009, "energy": 6082, "weight_a": 8192, "weight_l": 3277,
    "weight_e": 21299, "latency_th": 32768, "energy_th": 32768, "latency_high": 17334, "energy_high": 32768,
    "latency_gain": 12263, "energy_gain": 4746, "states": 2,
}  # fmt: skip


def _reward_calculator() -> str:
    block = RewardCalculator(_SMALL)
    recorder = Recorder(
        block,
        [
            bit(block.start, "start"),
            bit(block.load, "load"),
            number(block.load_value, "load_value", when=block.load),
            bit(block.divide, "divide"),
            bit(block.reward_valid, "reward_valid"),
            number(block.reward, "reward"),
            bit(block.done, "done"),
            number(block.share, "share"),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        r.set((getattr(block, name), value) for name, value in _MEASURED.items())
        await r.cycle()
        await r.cycle((block.start, 1))
        r.set(((block.start, 0),))
        while not r.get(block.done):
            await r.cycle()
        await r.cycle()
        await r.cycle((block.load, 1), (block.load_value, -30))
        await r.cycle((block.load, 0), (block.divide, 1))
        r.set(((block.divide, 0),))
        while not r.get(block.done):
            await r.cycle()
        await r.cycle(times=2)

    return recorder.run(stimulus)


def _updater() -> str:
    unit = _Unit(RLUParams(states=3, actions=4))
    updater = unit.updater
    recorder = Recorder(
        unit.design,
        [
            bit(updater.start, "start"),
            number(updater.read_row, "read_row"),
            number(updater.old, "old"),
            number(updater.maximum, "maximum"),
            bit(updater.write_en, "write_en"),
            number(updater.write_row, "write_row", when=updater.write_en),
            number(updater.write_action, "write_action", when=updater.write_en),
            number(updater.write_value, "write_value", when=updater.write_en),
            bit(updater.done, "done"),
        ],
    )
    return recorder.run(lambda r: _update(unit, r, updater))


async def _update(unit: _Unit, r: Recorder, updater: Any) -> None:
    await unit.write_table(r, UPDATE_EXAMPLE)
    await unit.write(r, "REWARD", 12288)
    await unit.access(r, POLICY.offset, 0x201)
    await unit.access(r, address_of("COMMAND"), UPDATE, drawn=True)
    while not r.get(updater.done):
        await r.cycle()
    await r.cycle(times=2)


#: The Q-table of the worked example (docs/understand/arithmetic.md, "Updating").
UPDATE_EXAMPLE = ((100, 200, 300, 400), (500, 600, 700, 800), (900, 1000, 1100, 1200))


def _sampler() -> str:
    unit = _Unit(RLUParams(states=3, actions=4))
    sampler = unit.sampler
    recorder = Recorder(
        unit.design,
        [
            bit(sampler.start, "start"),
            number(sampler.read_row, "read_row"),
            bit(sampler.draw_en, "draw_en"),
            number(sampler.draw_row, "draw_row", when=sampler.draw_en),
            number(sampler.draw_decision, "draw_decision", when=sampler.draw_en),
            number(sampler.draw_choice, "draw_choice", when=sampler.draw_en),
            number(sampler.lfsr, "lfsr"),
            number(sampler.greedy, "greedy"),
            bit(sampler.write_en, "write_en"),
            number(sampler.write_row, "write_row", when=sampler.write_en),
            number(sampler.write_action, "write_action", when=sampler.write_en),
            number(sampler.explored, "explored", when=sampler.write_en),
            bit(sampler.done, "done"),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        await unit.write_table(r, UPDATE_EXAMPLE)
        await unit.write(r, "LFSR", 1)
        await unit.write(r, "EPSILON", 0x4000)
        await unit.access(r, address_of("COMMAND"), SAMPLE, drawn=True)
        while not r.get(sampler.done):
            await r.cycle()
        await r.cycle(times=2)

    return recorder.run(stimulus)


def _core() -> str:
    unit = _Unit(RLUParams(states=2, actions=2))
    core, probe = unit.core, unit.core.probe
    recorder = Recorder(
        unit.design,
        [
            number(core.command, "command", text=lambda bits: f"{bits:04b}"),
            bit(core.busy, "busy"),
            number(probe.reward_value, "reward_value", when=probe.reward),
            number(probe.write_row, "write_row", when=probe.write),
            number(probe.write_value, "write_value", when=probe.write),
            number(probe.draw_row, "draw_row", when=probe.draw),
            number(probe.action_row, "action_row", when=probe.action),
            number(probe.action_value, "action_value", when=probe.action),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        for name, value in _MEASURED.items():
            await unit.write(r, name.upper(), value)
        await unit.access(r, address_of("COMMAND"), REWARD | UPDATE | SAMPLE, drawn=True)
        while r.get(core.busy):
            await r.cycle()
        await r.cycle(times=2)

    return recorder.run(stimulus)


def _episode_control() -> str:
    unit = _Unit(RLUParams(states=2, actions=4, episodes=4))
    core, probe = unit.core, unit.core.probe
    control = unit.core_blocks.episodes
    recorder = Recorder(
        unit.design,
        [
            bit(control.start_sample, "start_sample"),
            bit(control.lfsr_advance, "lfsr_advance"),
            bit(control.sample, "sample"),
            number(probe.draw_row, "draw_row", when=probe.draw),
            number(probe.action_row, "action_row", when=probe.action),
            number(probe.action_value, "action_value", when=probe.action),
            bit(control.scanning, "scanning"),
            bit(control.done, "done"),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        episodic = Episodic(tournament=2, candidates=1, replays=0)
        for name, value in (
            *variant_registers(False, episodic).items(),
            ("STATES", 2),
            ("EPSILON", 1 << 14),
            ("LFSR", 24),
        ):
            await unit.write(r, name, value)
        await unit.write(r, "COMMAND", UPDATE)  # stores the policy that chooses action 0 twice
        await unit.access(r, address_of("COMMAND"), SAMPLE, drawn=True)
        while r.get(core.busy):
            await r.cycle()

    return recorder.run(stimulus)


def _planner() -> str:
    unit = _Unit(RLUParams(states=2, actions=2, episodes=2, points=2))
    planner = unit.core_blocks.planner
    blocks = _opened(planner)
    walk, valuer, search = blocks.walk, blocks.valuer, blocks.search
    recorder = Recorder(
        unit.design,
        [
            bit(search.trying, "trying"),
            number(search.try_row, "try_row", when=search.trying),
            number(search.try_action, "try_action", when=search.trying),
            bit(walk.walking, "walking"),
            number(walk.read_row, "read_row", when=walk.walking),
            number(walk.visit.row, "visit.row", when=walk.visit.valid),
            bit(valuer.start, "value"),
            bit(valuer.score.start, "score.start"),
            bit(valuer.score.scored, "scored"),
            bit(valuer.done, "value_done"),
            bit(search.compare, "compare"),
            bit(search.compared & ~search.seen, "new"),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        planning = field_of("MODE", "planning").mask
        one_climb = 1 | 1 << field_of("PLANNING", "sweeps").lsb
        for name, value in (("MODE", planning), ("PLANNING", one_climb), ("EPSILON", 0), ("ACCURACY", 1 << 14)):
            await unit.write(r, name, value)
        await unit.write(r, "COMMAND", UPDATE)  # learns from the policy that chooses action 0 twice
        await unit.access(r, address_of("COMMAND"), SAMPLE)
        while not r.get(search.trying):
            await r.skip()
        while r.get(search.trying):
            await r.cycle()

    return recorder.run(stimulus)


def _top() -> str:
    unit = _Unit(_SMALL)
    bus = unit.design.bus
    recorder = Recorder(
        unit.design,
        [
            bit(bus.req, "req"),
            bit(bus.we, "we"),
            number(bus.addr, "addr", when=bus.req, text=hexadecimal),
            number(bus.wdata, "wdata", when=bus.req & bus.we, text=hexadecimal),
            bit(bus.ack, "ack"),
            number(bus.rdata, "rdata", when=bus.ack & ~bus.we, text=hexadecimal),
            number(unit.core.command, "command", text=lambda bits: f"{bits:04b}"),
            bit(unit.design.busy, "busy"),
            bit(unit.design.irq, "irq"),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        await unit.write(r, "IRQ_ENABLE", 1)
        await r.cycle()
        await unit.access(r, address_of("COMMAND"), CLEAR, drawn=True)
        while not r.get(unit.design.irq):
            await r.cycle()
        await unit.access(r, address_of("CYCLES"), drawn=True)
        await unit.access(r, address_of("IRQ_STATUS"), 1, drawn=True)
        await r.cycle(times=2)

    return recorder.run(stimulus)


def _axi4lite() -> str:
    unit = AXI4LiteRLU(RLUParams(states=2, actions=2))
    recorder = Recorder(
        unit,
        [
            bit(unit.s_axi_awvalid, "awvalid"),
            bit(unit.s_axi_awready, "awready"),
            number(unit.s_axi_awaddr, "awaddr", when=unit.s_axi_awvalid, text=hexadecimal),
            bit(unit.s_axi_wvalid, "wvalid"),
            bit(unit.s_axi_wready, "wready"),
            number(unit.s_axi_wdata, "wdata", when=unit.s_axi_wvalid, text=hexadecimal),
            bit(unit.s_axi_bvalid, "bvalid"),
            bit(unit.s_axi_bready, "bready"),
            number(unit.s_axi_bresp, "bresp", when=unit.s_axi_bvalid, text=lambda code: AXI_RESPONSES[code]),
            bit(unit.s_axi_arvalid, "arvalid"),
            bit(unit.s_axi_arready, "arready"),
            number(unit.s_axi_araddr, "araddr", when=unit.s_axi_arvalid, text=hexadecimal),
            bit(unit.s_axi_rvalid, "rvalid"),
            bit(unit.s_axi_rready, "rready"),
            number(unit.s_axi_rdata, "rdata", when=unit.s_axi_rvalid, text=hexadecimal),
        ],
    )
    write_address = (unit.s_axi_awvalid, 1), (unit.s_axi_awaddr, address_of("ALPHA"))
    write_data = (unit.s_axi_wvalid, 1), (unit.s_axi_wdata, 0x1000)

    async def stimulus(r: Recorder) -> None:
        r.set([(unit.s_axi_rready, 1), (unit.s_axi_wstrb, 0xF)])
        await r.cycle()
        await r.cycle(*write_address)
        await r.cycle((unit.s_axi_awvalid, 0), *write_data, (unit.s_axi_arvalid, 1), (unit.s_axi_araddr, 0x0C))
        await r.cycle((unit.s_axi_wvalid, 0), (unit.s_axi_arvalid, 0), times=7)
        await r.cycle(*write_address, (unit.s_axi_wvalid, 1), (unit.s_axi_wdata, 0x9000), (unit.s_axi_bready, 1))
        await r.cycle((unit.s_axi_awvalid, 0), (unit.s_axi_wvalid, 0), times=9)

    return recorder.run(stimulus)


def _wishbone() -> str:
    unit = WishboneRLU(RLUParams(states=2, actions=2))
    recorder = Recorder(
        unit,
        [
            bit(unit.wb_cyc, "cyc"),
            bit(unit.wb_stb, "stb"),
            bit(unit.wb_we, "we"),
            number(unit.wb_adr, "adr", when=unit.wb_stb, text=hexadecimal),
            number(unit.wb_dat_w, "dat_w", when=unit.wb_stb & unit.wb_we, text=hexadecimal),
            bit(unit.wb_stall, "stall"),
            bit(unit.wb_ack, "ack"),
            bit(unit.wb_err, "err"),
            number(unit.wb_dat_r, "dat_r", when=unit.wb_ack & ~unit.wb_we, text=hexadecimal),
        ],
    )
    alpha = address_of("ALPHA") // 4
    stb, we, address, data = unit.wb_stb, unit.wb_we, unit.wb_adr, unit.wb_dat_w

    async def stimulus(r: Recorder) -> None:
        r.set([(unit.wb_sel, 0xF)])
        await r.cycle()
        cycles = front_end("wishbone").interval_cycles
        await r.cycle((unit.wb_cyc, 1), (stb, 1), (we, 1), (address, alpha), (data, 0x9000), times=cycles)
        await r.cycle((stb, 0), (we, 0))
        # A pipelined master: the second request is shown before the first is answered.
        await r.cycle((stb, 1), (address, alpha))
        await r.cycle((address, alpha + 1), times=cycles)
        await r.cycle((stb, 0), times=cycles - 1)
        await r.cycle((unit.wb_cyc, 0))

    return recorder.run(stimulus)


def _apb() -> str:
    unit = ApbRLU(RLUParams(states=2, actions=2))
    sel, enable, write = unit.s_apb_psel, unit.s_apb_penable, unit.s_apb_pwrite
    recorder = Recorder(
        unit,
        [
            bit(sel, "psel"),
            bit(enable, "penable"),
            bit(write, "pwrite"),
            number(unit.s_apb_paddr, "paddr", when=sel, text=hexadecimal),
            number(unit.s_apb_pwdata, "pwdata", when=sel & write, text=hexadecimal),
            bit(unit.s_apb_pready, "pready"),
            bit(unit.s_apb_pslverr, "pslverr"),
            number(unit.s_apb_prdata, "prdata", when=unit.s_apb_pready & ~write, text=hexadecimal),
        ],
    )

    async def stimulus(r: Recorder) -> None:
        r.set([(unit.s_apb_paddr, address_of("ALPHA")), (unit.s_apb_pstrb, 0xF)])
        await r.cycle()
        access_phase = front_end("apb").latency_cycles
        await r.cycle((sel, 1), (write, 1), (unit.s_apb_pwdata, 0x9000))
        await r.cycle((enable, 1), times=access_phase)
        await r.cycle((enable, 0), (write, 0))
        await r.cycle((enable, 1), times=access_phase)
        await r.cycle((sel, 0), (enable, 0))

    return recorder.run(stimulus)


#: The diagram of every block, by the name of its page.
DIAGRAMS: dict[str, Callable[[], str]] = {
    "register-file": _register_file,
    "q-table": _q_table,
    "policy-store": _policy_store,
    "row-max": _row_max,
    "row-reader": _row_reader,
    "reward-calculator": _reward_calculator,
    "updater": _updater,
    "sampler": _sampler,
    "episode-control": _episode_control,
    "planner": _planner,
    "core": _core,
    "top": _top,
    "axi4lite": _axi4lite,
    "wishbone": _wishbone,
    "apb": _apb,
}
