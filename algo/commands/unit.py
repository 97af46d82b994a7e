"""Commands about the unit itself: check it, write it out, measure it, put it on a board."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from algo.commands.common import CheckFailed, bus_option, json_option, parse_counts, unit_options

if TYPE_CHECKING:
    from rtl.flows.soc.system import System


@click.command()
@click.option("--states", type=int, help="Rows, 1..256. This and the next two choose one unit; default: several.")
@click.option("--actions", type=int, help="Actions, 2..16.")
@click.option("--lfsr-width", type=int, help="Bits of the LFSR: 8, 16 or 32.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the stimulus and of the random unit.")
@click.option("--episodes", type=int, default=200, show_default=True, help="Episodes for each unit.")
@click.option("--alpha", type=float, help="Learning rate, 0..1; default: it varies.")
@click.option("--gamma", type=float, help="Discount, 0..1; default: it varies.")
@click.option("--simulator", type=click.Choice(["verilator", "icarus"]), default="verilator", show_default=True)
@click.option(
    "--rtl",
    type=click.Path(path_type=Path),
    help="A Verilog file to run instead of the generated one. It holds one unit without a bus, by default the "
    "published one.",
)
@click.option("--waves", type=click.Path(path_type=Path), help="VCD file for the cycles around a divergence.")
@json_option
def lockstep(
    states: int | None,
    actions: int | None,
    lfsr_width: int | None,
    rtl: Path | None,
    waves: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Compare RTL and golden model, event by event, on random stimulus; 0 identical, 1 diverged.

    By default it compares five units: the published one, three small ones (one with an episode memory, one that
    plans), and a random one that the seed draws.
    """
    import dataclasses

    from tqdm import tqdm

    from rtl.spec.params import RLUParams
    from sim.lockstep import run_units
    from sim.stimulus import units

    sizes = {"states": states, "actions": actions, "lfsr_width": lfsr_width}
    given: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    compared = (RLUParams(**given),) if given or rtl is not None else units(settings["seed"])
    if rtl is not None and not rtl.is_file():
        raise ValueError(f"--rtl {rtl} is not a file: write one with `rlu verilog -o FILE`")
    if rtl is not None and not re.search(rb"\bmodule\s+\\?rlu\b|`include", rtl.read_bytes()):
        raise ValueError(
            f"--rtl {rtl} has no module rlu: lockstep takes the unit without a bus, as `rlu verilog -o FILE` writes; "
            "the bench of its package checks the file of a bus"
        )
    with tqdm(total=len(compared) * settings["episodes"], unit="episode", disable=None, file=sys.stderr) as bar:
        report = run_units(compared, verilog=rtl, waves=waves, progress=bar.update, **settings)
    divergence = report.divergence
    if as_json:
        click.echo(
            json.dumps(
                {
                    "identical": report.identical,
                    "seed": settings["seed"],
                    "episodes": report.episodes,
                    "cycles": report.cycles,
                    "compared": dict(report.compared),
                    "divergence": dataclasses.asdict(divergence) if divergence else None,
                    "units": report.units,
                }
            )
        )
    else:
        counts = ", ".join(f"{count} {name}s" for name, count in sorted(report.compared.items()))
        click.echo("\n".join(f"unit: {unit}" for unit in report.units))
        click.echo(f"{report.episodes} episodes, {report.cycles} clock cycles; compared {counts}")
        click.echo("identical" if divergence is None else f"DIVERGED in {divergence}")
        if divergence is not None:
            click.echo(f"seed {settings['seed']}: the same call finds it again")
            if waves is not None:
                click.echo(f"waveform: {waves}")
    if divergence is not None:
        raise CheckFailed


@click.command()
@unit_options
@bus_option()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A .v file, which gets a JSON description and Verilator's waivers beside it; or a folder, which becomes an "
    "IP package. Default: print.",
)
@click.option(
    "--clock", type=float, metavar="MHZ", help="Clock in the package's constraints; default: what an ECP5 reaches."
)
@click.option(
    "--technology",
    default="generic",
    show_default=True,
    help="generic, ecp5 to use its carry cells (faster), or sram to make each memory an instance of one module.",
)
@click.option("--reset", default="active-high", show_default=True, help="active-high (rst), or active-low (rst_n).")
@click.option(
    "--name",
    default="rlu",
    show_default=True,
    help="Prefix of modules, macros, C symbols and files; units of different parameters in a design need different "
    "ones.",
)
@json_option
def verilog(
    output: Path | None, bus: str, clock: float | None, technology: str, reset: str, name: str, as_json: bool,
    action_counts: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Write the unit as one self-contained Verilog file, or as an IP package."""
    from rtl.spec.buses import front_end
    from rtl.spec.params import RLUParams
    from rtl.verilog import sidecar
    from sim.simulators.build import generated_verilog, write_package

    params = RLUParams(action_counts=parse_counts(action_counts), **settings)
    front_end(bus)  # refuses an unknown one before anything is written
    folder = output is not None and (output.is_dir() or not output.suffix)
    if clock is not None and not folder:
        raise ValueError("--clock is for the constraints of a package: name its folder with -o")
    if output is None:
        click.echo(
            json.dumps(sidecar(params, bus, reset=reset, name=name))
            if as_json
            else generated_verilog(params, bus, technology, reset=reset, name=name).read_text(),
            nl=as_json,
        )
        return
    if folder:
        from sim.ip_package import rivals, write

        written = write(params, bus, output, clock_mhz=clock, technology=technology, reset=reset, name=name)
        for other in rivals(output):
            click.echo(
                f"rlu: warning: {other} holds another unit under the name {name!r}; in one FuseSoC library or one "
                "design only one of them is found: give one of them a --name",
                err=True,
            )
    else:
        written = write_package(params, output, bus, technology, reset=reset, name=name)
    if as_json:
        click.echo(json.dumps({"files": [str(path) for path in written], "parameters_sha256": params.digest}))
    else:
        for path in written:
            click.echo(f"wrote {path}")


@click.command()
@unit_options
@click.option(
    "--format",
    "form",
    default="markdown",
    show_default=True,
    help="c, verilog, svd (CMSIS-SVD), systemrdl, ipxact (IEEE 1685-2014, with the bus interface), uvm (register "
    "model), html (a folder), markdown or json. uvm and html need the extra registers.",
)
@bus_option("Of ipxact's bus interface and ports: ")
@click.option("--reset", default="active-high", show_default=True, help="Of ipxact's ports: active-high or active-low.")
@click.option("--name", default="rlu", show_default=True, help="Prefix of the names, as for rlu verilog.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File, or folder of html, which needs it; default: print."
)
def registers(
    form: str, bus: str, reset: str, name: str, output: Path | None, action_counts: str | None, **settings: Any
) -> None:  # fmt: skip
    """Write the unit's register map for C, Verilog, UVM, a debugger, another tool, or to read."""
    from rtl.spec.buses import front_end
    from rtl.spec.names import DEFAULT, checked_name
    from rtl.spec.params import RLUParams
    from rtl.spec.register_formats import COMPONENTS, FOLDERS, FORMATS, NAMELESS, TEXTS, check_format
    from sim.files import write_atomically

    check_format(form)
    front_end(bus)  # refuses an unknown one
    for option, given in (("--bus", bus != "none"), ("--reset", reset != "active-high")):
        if given and form not in COMPONENTS:
            raise ValueError(f"{option} is for --format {', '.join(COMPONENTS)}: {form} has no ports")
    if checked_name(name) != DEFAULT and form in NAMELESS:
        named = ", ".join(one for one in FORMATS if one not in NAMELESS)
        raise ValueError(f"--name is for --format {named}: nothing in {form} has the prefix of a unit")
    params = RLUParams(action_counts=parse_counts(action_counts), **settings)
    if form in FOLDERS:
        if output is None or output.is_file():
            raise ValueError(f"--format {form} writes a folder: name one with -o")
        FOLDERS[form](params, output, name)
        click.echo(f"wrote {output}")
        return
    if output is not None and output.is_dir():
        raise ValueError(f"--format {form} writes a file, and {output} is a folder: name a file in it with -o")
    if form in COMPONENTS:
        from rtl.verilog import ports

        text = COMPONENTS[form](params, bus, ports(params, bus, reset=reset), name)
    else:
        text = TEXTS[form](params, name)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomically(output, text)
        click.echo(f"wrote {output}")


@click.command()
@unit_options
@click.option("--target", required=True, help="ecp5-85k, ice40-up5k, gowin, gatemate or xilinx (synthesis only).")
@bus_option()
@click.option("--technology", help="generic: plain Verilog without the target's own cells, as in most packages.")
@click.option("--core", is_flag=True, help="The unit without bus and register file.")
@click.option("--block", help="Only one of its blocks, such as updater.")
@click.option(
    "--seeds", type=click.IntRange(1, 99), default=3, show_default=True, help="Placements; the median counts."
)
@click.option("--freq", type=float, metavar="MHZ", help="Required clock; exit code 1 if it is missed.")
@click.option("--jobs", type=click.IntRange(1), help="Placements at a time; default: all cores.")
@json_option
def synth(
    target: str, bus: str, technology: str | None, core: bool, block: str | None, seeds: int, freq: float | None,
    jobs: int | None, as_json: bool, action_counts: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Measure clock and area on an FPGA with open tools; exit code 1 if it does not fit or misses --freq."""
    import dataclasses

    from tqdm import tqdm

    from rtl.flows.fpga.synth import complaint, design, measure, table
    from rtl.flows.fpga.synth_targets import target_named
    from rtl.spec.params import RLUParams
    from rtl.verilog import ports
    from sim.files import cache_dir

    chosen = target_named(target)
    if core and block:
        raise ValueError("--core and --block exclude each other: --core is --block core")
    params = RLUParams(action_counts=parse_counts(action_counts), **settings)
    text, top = design(params, bus=bus, block="core" if core else block, technology=chosen.form(technology))
    with tqdm(total=1 + seeds, unit="step", disable=None, file=sys.stderr) as bar:

        def progress(doing: str, done: int) -> None:
            bar.set_description(doing, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        report = measure(
            text, top, chosen, seeds=range(1, seeds + 1), ports=None if core or block else ports(params, bus),
            mhz=freq, cache=cache_dir(), jobs=jobs, progress=progress,
        )  # fmt: skip
    if as_json:
        click.echo(
            json.dumps(
                {**report, "bus": bus, "technology": chosen.form(technology), "parameters": dataclasses.asdict(params)}
            )
        )
    else:
        click.echo(table(report))
    wrong = complaint(report)
    if wrong is not None:
        click.echo(f"rlu: {wrong}", err=True)
        raise CheckFailed


@click.command()
@click.option("--board", "name", required=True, help="Such as ulx3s-85f; an unknown name lists them.")
@click.option("--states", type=int, help="Rows of the unit; default: the board's.")
@click.option("--actions", type=int, help="Actions of the unit; default: the board's.")
@click.option("--lfsr-width", type=int, help="Bits of the unit's LFSR; default: the board's.")
@click.option("--episodes", type=int, help="Episodes that the unit remembers; default 0.")
@click.option("--points", type=int, help="Operating points of a unit that plans, which needs --episodes; default 0.")
@click.option("--baud", type=int, help="Bits per second of the serial port; default: the board's.")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("build"),
              show_default=True, help="Folder for the bitstream.")  # fmt: skip
@json_option
def fpga(name: str, output: Path, baud: int | None, as_json: bool, **settings: int | None) -> None:
    """Write a board's bitstream with open tools; exit code 1 if it does not fit or misses its clock."""
    import dataclasses

    from rtl.flows.fpga.bitstream import BitstreamFailed, build
    from rtl.flows.fpga.boards import board
    from sim.files import cache_dir

    chosen = board(name)
    given: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    params = dataclasses.replace(chosen.params, **given)

    def say(doing: str) -> None:
        if sys.stderr.isatty():
            click.echo(doing, err=True)

    try:
        written = build(chosen, params, output, cache=cache_dir(), baud=baud, say=say)
    except BitstreamFailed as error:
        click.echo(f"rlu: {error}", err=True)
        raise CheckFailed from None
    if as_json:
        click.echo(json.dumps(written.to_json()))
        return
    click.echo(f"{params.states} states x {params.actions} actions on {written.board}")
    click.echo(f"clock: {written.clock_mhz:g} MHz needed, {written.fmax_mhz:g} MHz possible")
    click.echo(f"LUTs: {written.luts} of {written.luts_available}")
    click.echo(f"serial port: {written.baud} baud, 8N1")
    click.echo(f"sha256: {written.sha256}")
    click.echo(f"wrote {written.path}{' (made before, from the cache)' if written.cached else ''}")


@click.command()
@click.option("--cpu", default="vexriscv", show_default=True, help="vexriscv or picorv32.")
@unit_options
@click.option(
    "--board", "name", help="Make the bitstream of this board with an ECP5, such as ulx3s-85f; default: simulate."
)
@click.option("--clock", type=float, metavar="MHZ", help="Clock on a board; default 50.")
@click.option("--compiler", help="A GCC for 32-bit RISC-V; default Debian's, riscv64-unknown-elf-gcc.")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("build/soc"),
              show_default=True, help="Folder for Verilog, firmware and bitstream.")  # fmt: skip
@json_option
def soc(
    cpu: str, name: str | None, clock: float | None, compiler: str | None, output: Path, as_json: bool,
    action_counts: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Put the unit beside a RISC-V processor whose firmware searches with it, without a host.

    The SoC is simulated, and every word that the firmware reads compared with the golden model; exit code 1 if one
    differs. With --board it becomes a bitstream; exit code 1 if it does not fit or misses its clock.
    """
    from rtl.flows.soc.firmware import COMPILER, FirmwareFailed, compiled
    from rtl.flows.soc.system import System, cpu_named
    from rtl.spec.params import RLUParams

    processor, params = cpu_named(cpu), RLUParams(action_counts=parse_counts(action_counts), **settings)

    def say(doing: str) -> None:
        if sys.stderr.isatty():
            click.echo(doing, err=True)

    if name is None:
        if clock is not None:
            raise ValueError("--clock is for a bitstream: name its --board")
        _simulate_soc(System.simulated(processor, params), output, compiler or COMPILER, as_json, say)
        return

    from rtl.flows.fpga.bitstream import BitstreamFailed
    from rtl.flows.soc.soc_bitstream import build, soc_board
    from sim.files import cache_dir, check_folder
    from sim.simulators.build import generated_verilog

    chosen = soc_board(name)
    system = System(processor, params) if clock is None else System(processor, params, clock)
    check_folder(output)
    try:
        firmware = compiled(system, output.absolute() / f"firmware-{cpu}", compiler or COMPILER)
        unit = generated_verilog(params, "wishbone", "ecp5").read_text()
        written = build(system, chosen, firmware, unit, output, cache=cache_dir(), say=say)
    except (BitstreamFailed, FirmwareFailed) as error:
        click.echo(f"rlu: {error}", err=True)
        raise CheckFailed from None
    if as_json:
        click.echo(json.dumps({**written.to_json(), "cpu": cpu, "firmware_bytes": 4 * len(firmware)}))
        return
    click.echo(f"{cpu} and {params.states} states x {params.actions} actions on {written.board}")
    click.echo(f"clock: {written.clock_mhz:g} MHz needed, {written.fmax_mhz:g} MHz possible")
    click.echo(f"LUTs: {written.luts} of {written.luts_available}")
    click.echo(f"serial port: {written.baud} baud, 8N1")
    click.echo(f"sha256: {written.sha256}")
    click.echo(f"wrote {written.path}{' (made before, from the cache)' if written.cached else ''}")


def _simulate_soc(system: System, output: Path, compiler: str, as_json: bool, say: Callable[[str], None]) -> None:
    """Simulate a SoC and tell the result. Raises CheckFailed if it is not that of the golden model."""
    from rtl.flows.soc.firmware import FirmwareFailed
    from sim.soc import run

    folder = output / system.cpu.name
    try:
        report = run(system, folder, compiler=compiler, say=say)
    except FirmwareFailed as error:
        click.echo(f"rlu: {error}", err=True)
        raise CheckFailed from None
    if as_json:
        click.echo(
            json.dumps(
                {
                    "identical": report.complaint is None, "complaint": report.complaint, "cpu": system.cpu.name,
                    "policy": report.policy, "words": report.words, "interrupts": report.interrupts,
                    "cycles": report.cycles, "firmware_bytes": report.firmware_bytes, "folder": str(folder),
                }
            )
        )  # fmt: skip
    else:
        params = system.params
        click.echo(f"{system.cpu.name} and {params.states} states x {params.actions} actions, simulated")
        click.echo(f"firmware: {report.firmware_bytes} bytes, {report.cycles} clock cycles")
        click.echo(f"policy: {' '.join(map(str, report.policy))}")
        click.echo(f"{report.words} words read, {report.interrupts} interrupts")
        click.echo("identical to the golden model" if report.complaint is None else f"WRONG: {report.complaint}")
        click.echo(f"wrote {folder}")
    if report.complaint is not None:
        raise CheckFailed


@click.command()
@click.option("--seconds", type=float, default=5.0, show_default=True, help="Time for each rate.")
@json_option
def bench(seconds: float, as_json: bool) -> None:
    """Measure cycles, search iterations per second, start-up time and training steps on this machine."""
    from algo.bench import run, table

    figures = run(seconds)
    click.echo(json.dumps(figures) if as_json else table(figures))
