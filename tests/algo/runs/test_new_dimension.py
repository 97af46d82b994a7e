"""A dimension that no code knows reaches trace, table, report, chip's table and saved runs without a change to them."""

import itertools
import json

import numpy as np
import pytest

from algo.chips.chip import LayerChip, Measurement
from algo.chips.layer_csv import TableChip, read_csv
from algo.chips.table import layer_table
from algo.nets.quantisation import QuantisedConv2d, QuantisedLinear, policy_of, quantised_layers
from algo.report.load import load_runs
from algo.report.page import page
from algo.runs.config import TuneConfig
from algo.runs.run_folder import CHIP_TABLE, SUMMARY, TRACE, RunFolder
from algo.runs.summary_text import summary_table
from algo.runs.tune import retrainer_of, run, run_space, task_of
from algo.search.tables.policy_table import PolicyTable, TableEvaluator
from algo.search.tables.table_file import read_table, write_table
from algo.space import dimensions
from algo.space.dimensions import Dimension
from algo.space.policy import OperatingPoint

SPARSITY = Dimension("sparsity", "weights pruned of eight", 0, 7, 0)
LIMITS = {"latency_low_ms": 1.0, "latency_high_ms": 30.0, "latency_th_ms": 40.0, "energy_low_uj": 1.0}


class SparseChip(LayerChip):
    """Two layers, the second of which can leave weights out."""

    name, origin = "sparse", "made up"
    dimensions = ("weight_bits", "activation_bits", "sparsity")

    def __init__(self):
        super().__init__(("a", "b"), (OperatingPoint(0.8, 100.0), OperatingPoint(1.0, 200.0)), (4, 8))

    def choices(self, layer, dimension):
        if dimension == SPARSITY.name:
            return (0, 4, 6) if layer else (0,)
        return super().choices(layer, dimension)

    def measure_layer(self, index, weight_bits, activation_bits, point, sparsity=0):
        work = weight_bits * activation_bits * (8 - sparsity) / 64
        return Measurement(work / (point + 1), 3.0 * work)


@pytest.fixture
def sparse(monkeypatch):
    """A chip with another dimension, and a table of everything that it can run."""
    monkeypatch.setitem(dimensions.DIMENSIONS, SPARSITY.name, SPARSITY)
    chip = SparseChip()
    space = run_space(TuneConfig(), chip, 2)
    policies = [space.decode(actions) for actions in itertools.product(*map(range, space.action_counts))]
    costs = [chip.measure(policy) for policy in policies]
    accuracy = [
        0.9 - 0.01 * sum(policy.per_layer["sparsity"]) - 0.02 * policy.weight_bits.count(4) for policy in policies
    ]
    figures = (np.array(accuracy), *(np.array([getattr(c, n) for c in costs]) for n in ("latency_ms", "energy_uj")))
    return chip, PolicyTable(space, chip.points, *figures, "made up", layer_names=chip.layer_names)


def tuned(path, chip, table, stop=None):
    config = TuneConfig.of(schedule="quick", **LIMITS)
    folder = RunFolder.open(path) if path.exists() else RunFolder.create(path, config.to_json())

    def on_step(step, total):
        if step.iteration == stop:
            raise KeyboardInterrupt

    return run(config, folder, chip=chip, evaluator=TableEvaluator(table), on_step=on_step, say=lambda text: None)


def test_it_reaches_trace_summary_and_report_and_resumes(sparse, tmp_path):
    chip, table = sparse
    assert table.space.action_counts == (2, 6, 2)
    summary = tuned(tmp_path / "whole", chip, table)
    lines = [json.loads(line) for line in (tmp_path / "whole" / TRACE).read_text().splitlines()]
    assert {tuple(line["sparsity"]) for line in lines} == {(0, 0), (0, 4), (0, 6)}
    assert list(lines[0])[3:6] == ["weight_bits", "activation_bits", "sparsity"]
    assert len(summary["found"]["sparsity"]) == 2 and summary["baseline_int8"]["sparsity"] == [0, 0]
    assert "| weights pruned of eight |" in summary_table(summary)
    text = page(load_runs([tmp_path / "whole"]))
    assert "Weights pruned of eight tried" in text and "All activation bits are 8" in text
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "pieces", chip, table, stop=11)
    tuned(tmp_path / "pieces", chip, table)
    for name in (TRACE, SUMMARY):
        assert (tmp_path / "pieces" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_it_reaches_the_layers_of_a_network_that_is_retrained(sparse, tmp_path, monkeypatch):
    """A dimension is an attribute of the quantised layers; the baseline puts it back."""
    chip, _ = sparse
    for kind in (QuantisedConv2d, QuantisedLinear):
        monkeypatch.setattr(kind, SPARSITY.name, 0, raising=False)
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make(classes, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(18, classes))\n"
    )
    labels = np.arange(120) % 2
    images = (np.random.default_rng(1).integers(0, 200, (120, 8, 8)) + 50 * labels[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "few.npz", images=images, labels=labels)
    config = TuneConfig.of(
        data=str(tmp_path / "few.npz"), network=f"{tmp_path / 'net.py'}:make", iterations=4, threads=1,
        accuracy_drop=0.9, **LIMITS,
    )  # fmt: skip
    folder = RunFolder.create(tmp_path / "run", config.to_json())
    retrainer = retrainer_of(task_of(config, folder, lambda text: None), lambda text: None)
    summary = run(config, folder, chip=chip, evaluator=retrainer, say=lambda text: None)
    assert {len(step.chosen["sparsity"]) for step in RunFolder.open(folder.path).steps} == {2}
    found = run_space(config, chip, 2).spread({name: summary["found"][name] for name in chip.dimensions})
    network, _ = retrainer.network(found)
    assert policy_of(network) == found
    retrainer.accuracy(found.but(sparsity=(0, 6)), 9)
    retrainer.retrained_baseline()
    assert policy_of(retrainer.network(found.but(sparsity=(0, 6)), 9)[0]).per_layer["sparsity"] == (0, 6)
    assert [layer.sparsity for _, layer in quantised_layers(retrainer._model)] == [0, 6]
    retrainer.baseline()
    assert [layer.sparsity for _, layer in quantised_layers(retrainer._model)] == [0, 6]


def test_it_reaches_the_chips_table_and_a_table_of_policies(sparse, tmp_path):
    chip, table = sparse
    written = layer_table(chip)
    assert written.per_layer and written.to_csv().count("\n") == 3 + 1 + (4 + 12) * 2
    (tmp_path / CHIP_TABLE).write_text(written.to_csv())
    again = TableChip(read_csv(tmp_path / CHIP_TABLE))
    policy = table.space.decode((1, 5, 1))
    assert again.measure(policy) == chip.measure(policy) and again.choices(1, "sparsity") == (0, 4, 6)
    write_table(table, tmp_path / "table.parquet")
    back = read_table(tmp_path / "table.parquet")
    assert back.space == table.space and (back.accuracy == table.accuracy).all()
    assert back.accuracy_of(policy) == table.accuracy_of(policy)


def test_a_trace_of_a_dimension_that_is_not_known_is_refused(sparse, tmp_path, monkeypatch):
    chip, table = sparse
    tuned(tmp_path / "run", chip, table)
    monkeypatch.delitem(dimensions.DIMENSIONS, SPARSITY.name)
    assert any("sparsity is not a field of a step" in note for note in RunFolder.open(tmp_path / "run").notes)
