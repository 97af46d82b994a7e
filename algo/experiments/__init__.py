"""The experiments of Chen 2023, chapters 2 to 4, and our own. Each is a module with the functions of `Experiment`.

``rlu experiment NAME`` runs one. Nothing heavy is imported here.

May import: rtl.spec, sim, algo.support, algo.space, algo.published, algo.nets, algo.chips, algo.search, algo.runs,
algo.nas, algo.fed, algo.export.
"""

from __future__ import annotations

#: What `rlu experiment --list` shows; the module is the name with underscores. In the order `all` runs them.
EXPERIMENTS: dict[str, str] = {
    "search-curves": "RL, grid search and model-size proxy: iterations to a score",
    "baselines": "every search on every table: regret against the known optimum",
    "ablation": "the unit's choices, one factor at a time",
    "better-unit": "the published unit, the better one, evolution and TPE",
    "planning": "the planning unit with 15 and 25 trainings, beside what an expert would try first",
    "noise": "accuracies with an error: what each search would deploy",
    "large-spaces": "spaces that no table holds: activation bits too, ResNet34; planning unit and published one",
    "policies": "the four deployments, each tuned with retraining",
    "latency-first": "the latency-first task, tuned with retraining",
    "long-term": "tuning cost against 20 days of inference",
    "outliers": "trainings saved by skipping outliers",
    "activations": "activation bits searched too: 9 actions per layer",
    "resnet34": "one bit-width per residual block, 1,200 iterations",
    "hqnas-latency": "HQNAS: predicted and measured latency; what a step of each super-network costs",
    "hqnas-front": "HQNAS: networks over (mu, nu) and over named latencies",
    "hqnas-two-stage": "HQNAS: the joint search beside two stages, uniform 8 bits, and random choices",
    "hqnas-devices": "HQNAS: networks for three devices",
    "hqnas-ablation": "HQNAS: guard rails left out one at a time; the three super-networks",
    "hqnas-lifelong": "HQNAS: classes met in steps, beside all from the start",
    "faqs-peers": "FAQS: accuracy and measured bytes beside FedAvg and FedNAS+EDD",
    "faqs-personal": "FAQS: networks of clients with three preferences",
    "faqs-ablation": "FAQS: each reduction, parts of the codec, other partitions, a hostile client",
}
