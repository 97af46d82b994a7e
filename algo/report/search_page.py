"""The page about a search of architecture and bits: the network found, the front, and how the search went."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from markupsafe import Markup

from algo.nas.folder import NasFolder
from algo.nas.space import Option
from algo.report.html import environment, part
from algo.report.network_picture import network_picture
from algo.report.svg import Chart, span
from algo.report.text import repeat
from algo.support.held_folder import CONFIG, RunFolderError
from algo.support.settings import flat


def search_page(path: Path) -> str:
    """The HTML page about a finished search; raises RunFolderError for one that is not finished or is damaged."""
    if not (path / CONFIG).exists() and (path.parent / CONFIG).exists():
        raise RunFolderError(f"{path} is a network of the search in {path.parent}: make the page of that folder")
    folder = NasFolder.open(path)
    config, summary = folder.settings, folder.summary
    if summary is None:
        raise RunFolderError(f"{path} is not finished: rlu nas search --resume --out {path}")
    table, epochs = folder.table, folder.epochs
    paths, bits = table.indices(table.space.checked(summary["architecture"]))
    blocks = [
        {
            "name": block.name,
            "shape": f"{block.inputs} to {block.outputs}, {block.size[0]}x{block.size[1]}"
            + (", halved" if block.stride == 2 else ""),
            "option": Option(*option),
            "ms": float(table.blocks_ms[number, paths[number], bits[number]]),
        }
        for number, (block, option) in enumerate(
            zip(table.space.blocks(table.image[1:]), summary["architecture"], strict=True)
        )
    ]
    templates = environment()
    return templates.get_template("search.html").render(
        title=f"Search {path.name}",
        summary=summary,
        blocks=blocks,
        table=table,
        settings=flat(config),
        network=network_picture(blocks),
        front=front(folder.front, summary),
        curves=[curve(epochs, *what) for what in _curves(summary)],
        command=repeat(("rlu", "nas", "search"), config),
        version=metadata.version("rlu-cosim"),
        style=part(templates, "report.css"),
        script=None,
    )


def front(networks: list[dict[str, Any]], summary: dict[str, Any]) -> Markup:
    """Latency and score of the best networks; the one chosen, and the limit."""
    latencies, scores = ([one[name] for one in networks] for name in ("latency_ms", "score"))
    limit = [] if summary["limit_ms"] is None else [summary["limit_ms"]]
    chart = Chart(
        "Best networks by latency",
        f"{len(networks)} networks from {latencies[0]:.4g} to {latencies[-1]:.4g} ms",
        x=span([*latencies, *limit]), y=span(scores), x_label="latency, ms", y_label="sum of scores",
    )  # fmt: skip
    if summary["limit_ms"] is not None:
        chart.vertical(summary["limit_ms"], "level")
    chart.steps(list(zip(latencies, scores, strict=True)), "best")
    for one in networks:
        if one["architecture"] == summary["architecture"]:
            chart.mark(one["latency_ms"], one["score"], "diamond", "published", f"found: {one['latency_ms']:.4g} ms")
    return chart.render()


def curve(epochs: list[dict[str, Any]], names: tuple[str, ...], label: str, level: float | None) -> Markup:
    """Figures of every epoch, and a level to compare them with."""
    values = [[epoch[name] for epoch in epochs] for name in names]
    everything = [value for row in values for value in row] + ([] if level is None else [level])
    chart = Chart(
        label,
        f"{len(epochs)} epochs; the last is {', '.join(f'{row[-1]:.4g}' for row in values)}",
        x=(1, max(2, len(epochs))), y=span(everything), x_label="epoch", y_label=label, height=260, kind="chart small",
    )  # fmt: skip
    if level is not None:
        chart.horizontal(level, "level")
    for number, row in enumerate(values):
        chart.steps(list(enumerate(row, 1)), f"run run{number}")
    return chart.render()


def _curves(summary: dict[str, Any]) -> list[tuple[tuple[str, ...], str, float | None]]:
    return [
        (("loss",), "loss", None),
        (("accuracy",), "accuracy on the validation half", None),
        (("expected_ms",), "expected latency, ms", summary["limit_ms"]),
        (("path_entropy", "bit_entropy"), "entropy of paths and of bits, bits", None),
    ]
