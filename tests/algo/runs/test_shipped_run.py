"""The run of the published unit that comes with the project: its decisions are those of the unit, bit for bit."""

import json
import shutil

from algo.report.load import load_runs
from algo.runs.config import TuneConfig
from algo.runs.run_folder import RunFolder, compare
from algo.runs.tune import run
from tests.places import ROOT
from tests.report_runs import MadeUp

SHIPPED = ROOT / "docs" / "results" / "published-run"


class Recorded(MadeUp):
    """The accuracies that a run measured, in its order."""

    def __init__(self, steps, summary):
        super().__init__(8)
        self.steps, self.summary = steps, summary

    def retrained_baseline(self, policy):
        return self.summary["baseline_int8"]["accuracy"]

    def accuracy(self, policy, iteration):
        return self.steps[iteration].accuracy if iteration < len(self.steps) else self.summary["found"]["accuracy"]


def test_with_the_accuracies_that_it_measured_the_unit_decides_the_same(tmp_path):
    shipped = RunFolder.open(SHIPPED)
    config = TuneConfig.from_json(shipped.config).but(device="golden")
    again = RunFolder.create(tmp_path / "again", config.to_json())
    summary = run(config, again, evaluator=Recorded(shipped.steps, shipped.summary), say=lambda text: None)
    assert compare(shipped, RunFolder.open(tmp_path / "again")) is None and len(shipped.steps) == 330
    for name in ("found", "best_seen", "accuracy_th", "trained"):
        assert summary[name] == shipped.summary[name]


def test_another_accuracy_would_have_led_to_other_decisions(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(SHIPPED, copy)
    lines = (copy / "trace.jsonl").read_text().splitlines()
    changed = json.loads(lines[40]) | {"accuracy": 0.5, "reward": 0.0}
    (copy / "trace.jsonl").write_text("\n".join([*lines[:40], json.dumps(changed), *lines[41:]]) + "\n")
    (facts,) = load_runs([copy])
    assert facts.q_history.mismatch
    (facts,) = load_runs([SHIPPED])
    assert not facts.q_history.mismatch and facts.q_history.last_matches
