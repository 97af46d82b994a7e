"""What every experiment promises, at the scale that takes seconds."""

import json
from pathlib import Path

import pytest

from algo.cli import main
from algo.experiments.base import DATA, PLOT, TABLE


def experiment(*arguments: object) -> list[str]:
    """Arguments of a quick experiment in this process's way of running: one core."""
    return ["experiment", *map(str, arguments), "--quick", "--jobs", "1"]


def check_contract(capsys: pytest.CaptureFixture[str], name: str, *arguments: object) -> None:
    """It sets published figures beside ours, as a plot and a table, and does not compute again what it knows."""
    main([*experiment(name, *arguments), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["experiment"] == name and told["computed"] and told["configuration"]["scale"] == "quick"
    folder = Path(told["folder"])
    assert json.loads((folder / DATA).read_text())["results"] == told["results"]
    assert (folder / PLOT).read_bytes()[:4] == b"\x89PNG"
    table = (folder / TABLE).read_text()
    assert table.startswith("|  | published | ours | used instead |") and "nan" not in table
    before = (folder / PLOT).read_bytes()
    main([*experiment(name, *arguments), "--json"])
    again = json.loads(capsys.readouterr().out)
    assert not again["computed"] and again["results"] == told["results"] and (folder / PLOT).read_bytes() == before
