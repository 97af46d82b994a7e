"""Commands about HQNAS: search a network's architecture and bit-widths together, to a latency."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from algo.commands.common import CheckFailed, differences, given_of, json_option, options_of
from algo.nas.config import NasConfig, SpaceConfig, located, parsed_latency, parsed_size, space_of

if TYPE_CHECKING:
    from algo.nas.latency_table import LatencyTable


@click.group("nas")
def nas() -> None:
    """Search architecture and bit-widths of a network together, to a latency that you name (HQNAS)."""


@nas.command("search")
@options_of(NasConfig)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the search; default: one in runs/ that data, space, device and aim name.",
)
@click.option("--resume", is_flag=True, help="Resume the search in --out, or begin it if there is none.")
@json_option
@click.pass_context
def _search(context: click.Context, /, out: Path | None, resume: bool, as_json: bool, **settings: Any) -> None:
    """Search, choose, train and write down a network that keeps a latency."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from algo.nas.folder import NasFolder
    from algo.nas.run import run
    from algo.support.held_folder import CONFIG, RunFolderError, content

    given = given_of(context, settings)
    config = located(NasConfig.of(**given))
    out = out or _usual_folder(config)
    if resume and content(out):
        folder = NasFolder.open(out)
        kept = folder.settings
        if given and (changed := differences(kept, config, given)):
            raise RunFolderError(
                f"{out} was begun with {', '.join(changed)}: leave the options out, or begin a new search with "
                "another --out"
            )
        config = kept
    else:
        folder = NasFolder.create(out, config.to_json())
    try:
        summary = run(config, folder, lambda text: click.echo(text, err=True), _say_epoch)
    except KeyboardInterrupt:
        click.echo(f"interrupted; resume: rlu nas search --resume --out {out}", err=True)
        raise click.Abort from None
    except OSError as error:
        if (out / CONFIG).exists():
            click.echo(f"the search can be resumed: rlu nas search --resume --out {out}", err=True)
        raise error
    if as_json:
        click.echo(json.dumps({"folder": str(out), **summary}))
        return
    click.echo(_found(summary, summary["limit_ms"]))
    mixed, discrete, float_, accuracy = (
        summary[name] for name in ("mixed_accuracy", "discrete_accuracy", "float_accuracy", "accuracy")
    )
    click.echo(
        f"accuracy: {mixed:.3f} mixed, {discrete:.3f} discrete before training (both on the validation half); "
        f"{float_:.3f} trained in float32, {accuracy:.3f} with the bits found (both on the test images)"
    )
    click.echo(
        f"{_size(summary)}; {summary['search_s']:.0f} s of search, "
        f"{summary['training_s']:.0f} s of training\n\nrun folder: {out}"
    )


@nas.command("derive")
@click.argument("run_folder", type=click.Path(path_type=Path))
@click.option("--latency", metavar="0.8ms|60%", help="Latency to keep; default that of the search.")
@click.option("--size", metavar="60KiB|50%", help="Size of the weights to keep; default that of the search, if any.")
@click.option("--train", is_flag=True, help="Train the network as the search would have done.")
@json_option
def _derive(run_folder: Path, latency: str | None, size: str | None, train: bool, as_json: bool) -> None:
    """Choose the best network of a finished search within another latency or size, without searching again."""
    from algo.nas.folder import NasFolder
    from algo.nas.run import derived

    found = derived(NasFolder.open(run_folder), latency, train, lambda text: click.echo(text, err=True), size)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(_found(found, found["limit_ms"]))
    click.echo(_size(found))
    if train:
        click.echo(f"accuracy with the bits found: {found['accuracy']:.3f}\n\nfolder: {found['folder']}")


@nas.command("profile")
@options_of(SpaceConfig)
@click.option("--image", default="1x32x32", show_default=True, metavar="CxHxW", help="Shape of an image.")
@click.option("--classes", default=10, show_default=True, help="Number of classes.")
@click.option("--latency", metavar="0.8ms|60%", help="Whether a network keeps this latency.")
@click.option("--size", metavar="60KiB|50%", help="Whether a network of this latency keeps this size, too.")
@json_option
def _profile(image: str, classes: int, latency: str | None, size: str | None, as_json: bool, **settings: Any) -> None:
    """Print the fastest, middle and slowest network of a space, and whether a latency and a size can be kept."""
    from algo.nas.derive import fastest, slowest
    from algo.nas.limits import possible
    from algo.nas.sizes import sizes_of

    if latency is not None:
        parsed_latency(latency)  # before anything is measured
    if size is not None:
        parsed_size(size)
        if latency is None:
            raise ValueError(f"--size {size} goes with a latency: name one")
    known = _table(settings, image, classes)
    space, sizes = known.space, sizes_of(known)
    rows = {"fastest": fastest(known), "slowest": slowest(known)}
    result: dict[str, Any] = {
        "device": known.device,
        "origin": known.origin,
        "space": space.name,
        "networks": float(space.architectures) * float(space.bit_policies),
        "speeds": dict(zip(map(str, space.bits), known.speeds, strict=True)),
        **{f"{name}_ms": one.ms for name, one in rows.items()},
        "uniform_ms": known.uniform_ms,
        "largest_8_bit_ms": known.ms(known.largest),
        "smallest_bytes": sizes.smallest,
        "largest_8_bit_bytes": sizes.of(known.largest),
    }
    if latency is not None:
        result |= possible(known, latency, size)
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(
            f"space {space.name}: {space.block_count} blocks, {len(space.options)} options each, "
            f"{result['networks']:.2g} networks; {known.origin}"
        )
        same: dict[str, list[str]] = {}
        for bits, speed in zip(space.bits, known.speeds, strict=True):
            same.setdefault(speed, []).append(str(bits))
        click.echo("; ".join(f"{' and '.join(bits)} bits run as {speed}" for speed, bits in same.items()))
        click.echo(f"fastest {result['fastest_ms']:.4g} ms: {_words(rows['fastest'].architecture)}")
        click.echo(f"middle {result['uniform_ms']:.4g} ms: the mean over all networks")
        click.echo(f"largest at 8 bits {result['largest_8_bit_ms']:.4g} ms: 100% of --latency")
        click.echo(f"slowest {result['slowest_ms']:.4g} ms: {_words(rows['slowest'].architecture)}")
        click.echo(
            f"weights of {result['smallest_bytes'] / 1024:.4g} KiB at least; of the largest at 8 bits "
            f"{result['largest_8_bit_bytes'] / 1024:.4g} KiB: 100% of --size"
        )
        if latency is not None:
            can = "can" if result["possible"] else "cannot"
            both = "" if size is None else f" and a size of {result['limit_bytes'] / 1024:.4g} KiB"
            click.echo(f"a latency of {result['limit_ms']:.4g} ms{both} {can} be kept")
    if latency is not None and not result["possible"]:
        raise CheckFailed


@nas.command("latency-table")
@options_of(SpaceConfig)
@click.option("--image", default="1x32x32", show_default=True, metavar="CxHxW", help="Shape of an image.")
@click.option("--classes", default=10, show_default=True, help="Number of classes.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The table's file.")
def _latency_table(image: str, classes: int, out: Path, **settings: Any) -> None:
    """Measure every candidate on this machine, or ask a chip, and write the table."""
    if out.suffix != ".json":  # by which --device knows a table
        raise ValueError(f"the name of a latency table must end in .json, not -o {out}")
    known = _table(settings, image, classes)
    known.write(out)
    cells = known.blocks_ms.size
    click.echo(f"{out}: {cells} options of space {known.space.name}, {known.origin}")


def _table(settings: Mapping[str, Any], image: str, classes: int) -> LatencyTable:
    from algo.nas.run import table_of

    parts = image.split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and 0 < int(part) < 4096 for part in parts):
        raise ValueError(f"--image must be channels, height and width, such as 3x32x32, not {image!r}")
    if not 2 <= classes <= 100_000:
        raise ValueError(f"--classes must be in 2..100000, not {classes}")
    config = SpaceConfig(**settings)
    channels, height, width = map(int, parts)
    return table_of(config, space_of(config), (channels, height, width), classes)


def _found(found: Mapping[str, Any], limit_ms: float | None) -> str:
    """What is printed about a network: its blocks, its latency, and a warning if all blocks are alike."""
    limit = "" if limit_ms is None else f" of at most {limit_ms:.4g} ms ({found['latency_ms'] / limit_ms:.0%})"
    lines = [_words(found["architecture"]), f"latency by the table {found['latency_ms']:.4g} ms{limit}"]
    if "measured_ms" in found:
        share = "" if limit_ms is None else f", {found['measured_ms'] / limit_ms:.0%} of the limit"
        lines.append(f"measured on the whole network {found['measured_ms']:.4g} ms{share}")
    if found["collapsed"]:
        lines.append(f"note: {found['collapsed']}: compare it with another seed, or more epochs")
    return "\n".join(lines)


def _size(found: Mapping[str, Any]) -> str:
    limit = "" if found["limit_bytes"] is None else f", of at most {found['limit_bytes'] / 1024:.4g} KiB"
    return f"{found['size_bytes'] / 1024:.1f} KiB of weights{limit}"


def _words(architecture: Any) -> str:
    return ", ".join(f"k{kernel} e{expansion} {bits}b" for kernel, expansion, bits in architecture)


def _say_epoch(epoch: Any) -> None:
    """A line an epoch, on standard error if that is a terminal."""
    if sys.stderr.isatty():
        click.echo(
            f"epoch {epoch.epoch}: loss {epoch.loss:.3f}, accuracy {epoch.accuracy:.3f}, expected "
            f"{epoch.expected_ms:.4g} ms, entropy {epoch.path_entropy:.2f} and {epoch.bit_entropy:.2f} bits, "
            f"{epoch.seconds:.0f} s",
            err=True,
        )


def _usual_folder(config: NasConfig) -> Path:
    aim = config.aim
    words = [
        "nas", Path(config.data.data).stem, config.space.space, Path(config.space.device).stem,
        aim.latency.replace("%", "pc") if aim.latency else f"mu{aim.mu:g}",
        *([aim.size.replace("%", "pc")] if aim.size else []), f"seed{config.seed}",
    ]  # fmt: skip
    return Path("runs") / "-".join(words)
