"""Runs to report on: the golden unit, the default chip, and accuracies by a formula in place of training."""

from unittest import mock

from algo.chips.evolver import EvolverChip
from algo.runs.config import TuneConfig
from algo.runs.run_folder import RunFolder
from algo.runs.tune import run


class MadeUp:
    """Accuracies from a formula; in every other respect as if each policy had been trained."""

    def __init__(self, layers, source="made up, not measured", noise=0.0):
        self.layers, self.source, self.noise = layers, source, noise

    def retrained_baseline(self, policy):
        return 0.9

    def error_std(self, accuracy):
        return self.noise

    def is_cached(self, policy):
        return False

    def accuracy(self, policy, iteration):
        lost = sum((8 - bits) * (k % 3 + 1) for k, bits in enumerate(policy.weight_bits + policy.activation_bits))
        return 0.9 - lost / 900 - iteration % 7 / 1000

    def state(self):
        return b""

    def restore(self, saved):
        pass


def make_run(path, *, chip=None, source=None, stop=None, noise=0.0, **fields):
    """A run folder; ``stop`` ends the run after so many iterations, as Ctrl-C would; ``noise`` is the stated error."""
    settings = {"seed": 5, "method": "rlu", "accuracy_drop": 0.08, "latency_th_ms": 8.0, "energy_th_uj": 70.0}
    config = TuneConfig.of(**(settings | fields))
    folder = RunFolder.create(path, config.to_json())
    chip = chip or EvolverChip()

    def on_step(step, total):
        if stop is not None and step.iteration + 1 == stop:
            raise KeyboardInterrupt

    evaluator = MadeUp(len(chip.layer_names), source or "made up, not measured", noise)
    try:
        # The plot takes longer than the run.
        with mock.patch("algo.runs.learning_curve.learning_curve", return_value=b""):
            run(config, folder, chip=chip, evaluator=evaluator, on_step=on_step, say=lambda text: None)
    except KeyboardInterrupt:
        assert stop is not None
    return path
