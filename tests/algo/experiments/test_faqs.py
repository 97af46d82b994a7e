"""The experiments of FAQS: what is compared is the method, counts are those of messages, and each runs small."""

import numpy as np
import pytest
import torch

pytest.importorskip("constriction", reason="needs the packages of rlu-cosim[fed]")

from algo.experiments import EXPERIMENTS, faqs_ablation, faqs_peers
from algo.experiments import faqs_runs as runs
from algo.experiments.base import Settings
from algo.fed.config import FedConfig
from algo.fed.federation import client_of
from algo.fed.folder import FedFolder
from algo.nas.space import SPACES
from tests.algo.experiments.contract import check_contract
from tests.algo.nas.tables import made_up

FAQS = tuple(name for name in EXPERIMENTS if name.startswith("faqs"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings of quick experiments, whose table has made-up figures, so that nothing is measured."""
    made = Settings(scale="quick", out=tmp_path_factory.mktemp("experiments"), jobs=1, seeds=1)
    (made.out / "faqs").mkdir()
    made_up(SPACES["tiny"]).write(made.out / "faqs" / "table.json")
    return made


@pytest.mark.parametrize("name", FAQS)
def test_sets_published_beside_ours(name, settings, capsys):
    seeds = 2 if name == "faqs-peers" else 1
    check_contract(capsys, name, "--out", settings.out, "--seeds", seeds)


def test_counts_are_those_of_messages(settings):
    """Everything is held at first, so the first round has the bits that the chapter counts, and heads."""
    data = faqs_peers.compute(settings)
    for name, bits in (("fedavg, 32 bits", 32), ("fednas, 28 bits", 28), ("faqs, 16 bits", 16)):
        for curve in data["runs"][name]:
            values = data["values"][name] * data["clients"] * 2 * bits / 8
            held = curve["held"][0] if name.startswith("faqs") else 1.0
            assert (1 + held) / 2 * values * 0.97 < curve["bytes"][0] < values * 1.2
            assert sum(curve["parts"].values()) == curve["bytes"][-1]


@pytest.mark.parametrize("name", runs.RECOUNTED)
def test_what_is_recounted_is_what_a_run_would_count(settings, name, tmp_path):
    """To half a byte a message; everything else is the same."""
    [found] = [one.curve() for one in runs.made(settings, name)[name]]
    table = str(runs.table_of(settings))
    cell = runs.FedRun(name, 1, settings.scale, settings.data, table, str(tmp_path / "run"))
    runs._made(cell)
    folder = FedFolder.open(tmp_path / "run")
    made = runs.Finished(name, 1, folder.summary, folder.rounds).curve()
    messages = 2 * len(folder.rounds[0]["held"]) * (1 + np.arange(len(folder.rounds)))
    assert (np.abs(np.subtract(made["bytes"], found["bytes"])) <= messages / 2).all()
    parts = {"bytes": 0, "parts": {}}
    assert {**made, **parts} == {**found, **parts}
    assert {**made["parts"], "values": 0} == {**found["parts"], "values": 0}


def test_every_run_is_a_configuration_of_its_own():
    known = [runs.config_of(name, "cpu", 1, "measured") for name in runs.RUNS if name not in runs.UNUSUAL]
    assert all(FedConfig.from_json(config.to_json()) == config for config in known)
    assert len(set(map(str, known))) == len(known)


def test_accuracy_at_equal_bytes_is_that_of_the_last_rounds_within():
    curve = {"bytes": [10, 20, 30], "accuracy": [0.1, 0.5, 0.4]}
    assert [runs.at_bytes(curve, most) for most in (9, 10, 25, 1000)] == pytest.approx([0.0, 0.1, 0.3, 1 / 3])
    assert runs.end(curve, 2) == pytest.approx(0.45) and runs.end(curve) == pytest.approx(1 / 3)


@pytest.mark.parametrize("hostile", [runs.HostileClient, runs.HostileOnce])
def test_a_hostile_client_goes_backwards(hostile):
    config = FedConfig.of(method="fedavg", space="tiny")
    table = made_up(SPACES["tiny"])
    part = torch.zeros(4, *table.image), torch.zeros(4, dtype=torch.int64)
    honest, other = (client_of(config, 0, part, part, table, kind=kind) for kind in (runs.Client, hostile))
    held = honest.learner.held(honest.learner.options())
    for client in (honest, other):
        with torch.no_grad():
            for value in client.learner.network.parameters():
                value.add_(0.125)
    for number, own, back in zip(held, honest._learned(held), other._learned(held), strict=True):
        known = honest.link.references[number]
        assert np.allclose(back - known, -hostile.factor * (own - known), atol=1e-5) and not np.allclose(own, known)


def test_what_others_lose_is_of_the_same_honest_clients():
    def run(*accuracies):
        return [{"clients": [{"client": n, "tuned_accuracy": own} for n, own in enumerate(accuracies)]}]

    curves = {"faqs, our codec": run(0.1, 0.8, 0.9), "one hostile": run(0.9, 0.7, 0.8), "two hostile": run(0, 0, 0.85)}
    assert faqs_ablation._lost(curves, "one hostile") == "10.0 (10.0)"
    assert faqs_ablation._lost(curves, "two hostile") == "5.0 (5.0)"
    named = faqs_ablation._named([{"refused": [[0], [0, 1], [0, 2], []]}, {"refused": [[]]}], [0, 1])
    assert named == ("25 (50, 0)", "12 (25, 0)")


def test_clients_alone_learn_as_those_of_the_federation_but_send_nothing(settings):
    """In round 1 all have the fresh network, so what they have learned then is the same."""
    [first] = runs.alone(settings)
    [other] = runs.made(settings, runs.ALONE)[runs.ALONE]
    assert first["bytes"] == [0, 0, 0] and len(first["clients"]) == 4
    assert first["accuracy"][0] == pytest.approx(other.rounds[0]["accuracy"], abs=1e-4)
    assert first["accuracy"][1:] != pytest.approx([one["accuracy"] for one in other.rounds[1:]], abs=1e-4)


def test_the_share_held_is_of_those_who_count():
    round_ = {"held": [0.0, 0.5, 1.0], "refused": {"0": "no reply"}}
    assert runs._held(round_) == 0.75 and runs._held({"held": [0.0], "refused": {"0": "no reply"}}) == 0.0


def test_silent_clients_are_named_and_the_others_go_on(settings):
    [first] = runs.made(settings, "one silent")["one silent"]
    assert [set(one["refused"]) for one in first.rounds] == [{"0"}] * 3
    assert all(one["pushed_bytes"][0] == 0 and min(one["pushed_bytes"][1:]) > 0 for one in first.rounds)
