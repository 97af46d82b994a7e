"""Tuning with a chip of one's own, and `rlu chip`."""

import csv
import dataclasses
import json
import math

import pytest

from algo.chips.by_name import open_chip
from algo.chips.evolver import EvolverChip
from algo.published.evolver import PUBLISHED_VGG8
from algo.runs.config import TuneConfig
from algo.runs.run_folder import RunFolder
from algo.runs.tune import run
from algo.search.step import Step
from algo.search.tables.policy_table import TableEvaluator, synthetic_table
from algo.space.policy import Policy
from algo.support.held_folder import RunFolderError
from tests.chip_samples import DENSE, EVOLVER, GOOD_CSV, TINY
from tests.command_line import rlu

LATENCY_ONLY = (
    GOOD_CSV.replace(",10\n", ",unavailable\n").replace(",20\n", ",unavailable\n").replace(",1\n", ",unavailable\n")
)
LATENCY_ONLY = LATENCY_ONLY.replace(",2\n", ",unavailable\n").replace("4,8,0.8", "2,8,0.8")
LATENCY_ONLY += "a,4,8,0.8,100,2,unavailable\nb,4,8,0.8,100,0.7,unavailable\n"
COLUMNS = ["layer", "weight_bits", "activation_bits", "voltage_v", "frequency_mhz", "latency_ms", "energy_uj"]
SETTINGS = {"schedule": "quick", "seed": 5, "latency_th_ms": 3.4, "latency_low_ms": 1.0, "latency_high_ms": 3.4}


def no_energy_chip(tmp_path):
    path = tmp_path / "timed.csv"
    path.write_text(LATENCY_ONLY)
    return path


def tuned(folder, chip, objective, stop=None):
    table = synthetic_table(EvolverChip([TINY, DENSE], points=EVOLVER.points[:1]), layers=2, seed=1)
    config = TuneConfig.of(objective=objective, **SETTINGS)
    opened = RunFolder.open(folder) if folder.exists() else RunFolder.create(folder, config.to_json())

    def on_step(step, total):
        if stop == step.iteration:
            raise KeyboardInterrupt

    return run(config, opened, chip=chip, evaluator=TableEvaluator(table), on_step=on_step, say=lambda text: None)


def test_a_chip_without_energies_serves_only_objectives_without_energy(tmp_path):
    path = no_energy_chip(tmp_path)
    with pytest.raises(ValueError, match=r"has no energies \(.*timed.csv has none\), so no objective can weigh them"):
        open_chip(str(path), None, needs_energy=True)
    chip = open_chip(str(path), None)
    with pytest.raises(ValueError, match=r"has no energy .* but the objective weighs it"):
        tuned(tmp_path / "energy", chip, "energy")
    summary = tuned(tmp_path / "latency", chip, "0.3,0.7,0")
    assert summary["found"]["energy_uj"] is None and summary["found"]["latency_ms"] > 0
    lines = (tmp_path / "latency" / "trace.jsonl").read_text().splitlines()
    assert all(json.loads(line)["energy_uj"] is None for line in lines) and "NaN" not in "".join(lines)
    assert [Step.from_line(line).line() for line in lines] == lines
    assert Step.from_line(lines[0]) == Step.from_line(lines[0]) and math.isnan(Step.from_line(lines[0]).energy_uj)
    from algo.runs.summary_text import summary_table

    assert "| unavailable |" in summary_table(summary)


def test_a_run_keeps_the_figures_it_began_with(tmp_path):
    from algo.chips.by_name import fixed_chip

    path = no_energy_chip(tmp_path)

    def opened(folder):
        return fixed_chip(
            str(path), [dataclasses.replace(TINY, name="a"), dataclasses.replace(DENSE, name="b")],
            choices=lambda chip, layer, name: {"weight_bits": (2, 4, 8), "activation_bits": (8,)}[name],
            needs_energy=False, saved=folder / "chip.csv",
        )  # fmt: skip

    tuned(tmp_path / "whole", opened(tmp_path / "whole"), "0.3,0.7,0")
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "pieces", opened(tmp_path / "pieces"), "0.3,0.7,0", stop=9)
    path.write_text(LATENCY_ONLY.replace("1.5", "1.6"))
    assert opened(tmp_path / "new").measure(Policy((2, 2), (8, 8), 0)).latency_ms == pytest.approx(2.1)
    tuned(tmp_path / "pieces", opened(tmp_path / "pieces"), "0.3,0.7,0")
    for name in ("trace.jsonl", "chip.csv"):
        assert (tmp_path / "pieces" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    (tmp_path / "pieces" / "summary.json").unlink()
    table = tmp_path / "pieces" / "chip.csv"
    table.write_text(table.read_text().replace("1.5", "1.25"))
    with pytest.raises(RunFolderError, match=r"chip\.csv changed after the run in .*pieces began"):
        tuned(tmp_path / "pieces", opened(tmp_path / "pieces"), "0.3,0.7,0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--chip", "abacus"), "unknown chip 'abacus': choose evolver, zigzag, measured, or name a file"),
        (("--chip", "nowhere.csv"), "nowhere.csv: no such file or folder: name one that exists"),
        (("--chip-network", "lenet"), "the network must be vgg8, mobilenetv2, resnet34, one of them with :W"),
        (("--chip", "timed.csv", "--chip-network", "vgg8"), "is for another network: layers without a row: conv1"),
    ],
)
def test_tune_refuses_a_chip_before_it_makes_a_folder(tmp_path, monkeypatch, capsys, options, message):
    no_energy_chip(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, _, said = rlu(capsys, "tune", *options, "--out", tmp_path / "run")
    assert code == 2 and message in said and not (tmp_path / "run").exists()


def test_chip_table_in_its_three_formats(tmp_path, capsys):
    path = tmp_path / "table.csv"
    options = ("chip", "table", "--network", "vgg8:2x1x10", "--weight-bits", "2,8", "--point", "2")
    code, printed, said = rlu(capsys, *options, "--format", "csv", "-o", path)
    assert (code, printed) == (0, "") and "16 rows written" in said
    rows = list(csv.reader(line for line in path.read_text().splitlines() if not line.startswith("#")))
    assert rows[0] == COLUMNS and len(rows) == 17
    as_json = json.loads(rlu(capsys, *options, "--json")[1])
    assert as_json["units"]["energy_uj"] == "uJ" and "Evolver" in as_json["origin"]
    assert [[str(value) for value in row.values()] for row in as_json["rows"]] == rows[1:]
    table = rlu(capsys, *options)[1]
    assert "| latency ms | energy uJ |" in table and table.count("\n| conv1 |") == 2
    assert rlu(capsys, "chip", "table", "--chip", path, "--format", "csv")[1] == path.read_text()
    rlu(capsys, *options, "-o", tmp_path / "by suffix.CSV")
    assert (tmp_path / "by suffix.CSV").read_text() == path.read_text()
    rlu(capsys, *options, "-o", tmp_path / "table.txt")
    assert (tmp_path / "table.txt").read_text() == table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weight-bits", "2,x"), "--weight-bits must be all, or whole numbers such as 2,4,8, not '2,x'"),
        (("--weight-bits", "2,2"), "--weight-bits must not repeat a bit-width"),
        (("--activation-bits", "3"), "chip evolver has activation bits of 2, 4, 8 in layer conv1, not 3"),
        (("--point", "9"), "chip evolver has operating points 0..8, not 9"),
        (("--threads", "0", "--chip", "measured"), "threads must be in 1..256, not 0"),
    ],
)
def test_chip_table_names_a_bad_option(capsys, options, message):
    code, printed, said = rlu(capsys, "chip", "table", *options)
    assert (code, printed) == (2, "") and message in said


def test_the_shipped_hardware_says_that_it_is_ours():
    chip = open_chip("zigzag", PUBLISHED_VGG8)
    assert "not a published chip" in chip.origin and len(chip.points) == 6
