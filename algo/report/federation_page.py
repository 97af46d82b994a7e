"""The page about a federated run: accuracy over bytes, what the bytes are, and every client's network."""

from __future__ import annotations

from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import Any

from markupsafe import Markup

from algo.fed.folder import ROUNDS, FedFolder
from algo.nas.latency_table import LatencyTable
from algo.nas.space import Option
from algo.report.html import environment, part
from algo.report.network_picture import network_picture
from algo.report.svg import Chart, span
from algo.report.text import repeat
from algo.support.held_folder import RunFolderError
from algo.support.settings import flat

#: The parts of messages that `algo.fed.federation.Round` counts, and how the page names them.
PARTS = {"values": "values", "scales": "ranges, steps, frequencies", "heads": "heads", "others": "not ours"}


def federation_page(path: Path) -> str:
    """The HTML page about a finished run; raises RunFolderError for one that is not finished or is damaged."""
    folder = FedFolder.open(path)
    config, summary, rounds = folder.settings, folder.summary, folder.rounds
    if summary is None:
        raise RunFolderError(f"{path} is not finished: rlu fed run --resume --out {path}")
    if len(rounds) != summary["rounds"]:
        raise RunFolderError(
            f"{path} has {len(rounds)} of {summary['rounds']} rounds in {ROUNDS}: make it again with rlu fed run "
            f"--resume --out {path}"
        )
    table = folder.table
    templates = environment()
    return templates.get_template("federation.html").render(
        title=f"Federated run {path.name}",
        summary=summary,
        clients=[_client(one, table) for one in summary["clients"]],
        over_bytes=_over_bytes(rounds),
        curves=[_line(rounds, *what) for what in _curves(rounds)],
        parts={text: sum(one["parts"][name] for one in rounds) for name, text in PARTS.items()},
        refused=[(one["round"], client, why) for one in rounds for client, why in one["refused"].items()],
        table=table,
        settings=flat(config),
        command=repeat(("rlu", "fed", "run"), config),
        version=metadata.version("rlu-cosim"),
        style=part(templates, "report.css"),
        script=None,
    )


def _client(one: dict[str, Any], table: LatencyTable) -> dict[str, Any]:
    """A client of the summary, with its network drawn."""
    options = [None if option is None else Option(*option) for option in one["options"]]
    space = table.space
    blocks = []
    for number, (block, option) in enumerate(zip(space.blocks(table.image[1:]), options, strict=True)):
        ms = 0.0
        if option is not None and option in space.options:
            paths, bits = table.indices((option,) * space.block_count)
            ms = float(table.blocks_ms[number, paths[number], bits[number]])
        blocks.append({"name": block.name, "option": option, "ms": ms})
    return {**one, "network": network_picture(blocks, f"The network of client {one['client']}")}


def _over_bytes(rounds: list[dict[str, Any]]) -> Markup:
    """Mean accuracy of the clients over all bytes so far."""
    megabytes = [total / 1e6 for total in accumulate(_bytes(one) for one in rounds)]
    rows = [[one[name] for one in rounds] for name in ("accuracy", "global_accuracy")]
    chart = Chart(
        "Accuracy over bytes",
        f"{len(rounds)} rounds; the last has {rows[0][-1]:.3f} after {megabytes[-1]:.3g} MB",
        x=(0, max(megabytes)), y=span([value for row in rows for value in row]), x_label="all messages so far, MB",
        y_label="accuracy",
    )  # fmt: skip
    for number, row in enumerate(rows):
        chart.steps(list(zip(megabytes, row, strict=True)), f"run run{number}")
    return chart.render()


def _bytes(one: dict[str, Any]) -> int:
    return int(sum(one["pulled_bytes"]) + sum(one["pushed_bytes"]))


def _curves(rounds: list[dict[str, Any]]) -> list[tuple[str, list[list[float]]]]:
    clients = max(1, len(rounds[0]["held"]))
    return [
        ("pulled and pushed, kB", [[sum(one[f"{way}_bytes"]) / 1e3 for one in rounds] for way in ("pulled", "pushed")]),
        ("share of the weights that clients use", [[sum(one["held"]) / clients for one in rounds]]),
        ("clients whose replies count", [[float(clients - len(one["refused"])) for one in rounds]]),
    ]  # fmt: skip


def _line(rounds: list[dict[str, Any]], label: str, rows: list[list[float]]) -> Markup:
    """Figures of every round."""
    chart = Chart(
        label,
        f"{len(rounds)} rounds; the last is {', '.join(f'{row[-1]:.4g}' for row in rows)}",
        x=(1, max(2, len(rounds))), y=span([0.0, *(value for row in rows for value in row)]), x_label="round",
        y_label=label, height=260, kind="chart small",
    )  # fmt: skip
    for number, row in enumerate(rows):
        chart.steps(list(enumerate(row, 1)), f"run run{number}")
    return chart.render()
