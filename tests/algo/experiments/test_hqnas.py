"""What the experiments of HQNAS compare is comparable: same latency, same size, costs that are never too low."""

import dataclasses
import itertools
import json

import pytest

from algo.experiments import hqnas_rivals as rivals
from algo.experiments import hqnas_runs as runs
from algo.experiments.base import Settings
from algo.experiments.results_page import page_of
from algo.nas.config import NasConfig
from algo.nas.folder import NasFolder
from algo.nas.space import SPACES
from algo.space.policy import Policy
from tests.algo.nas.tables import made_up

TABLE = dataclasses.replace(made_up(SPACES["tiny"]), speeds=("int8", "int8", "float32"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings of quick experiments, whose table has made-up figures, so that nothing is measured."""
    made = Settings(scale="quick", out=tmp_path_factory.mktemp("experiments"), jobs=1)
    path = runs.run_of(made, runs.JOINT, 1).table
    (made.out / "hqnas").mkdir()
    TABLE.write(made.out / "hqnas" / "table.json")
    assert path == str((made.out / "hqnas" / "table.json").resolve())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "table_of", lambda settings: TABLE)
        yield made


def rival(settings, kind, study, number=0):
    [found] = runs.searches(settings, study)[study]
    limit = TABLE.limit_ms("70%")
    table = runs.run_of(settings, runs.JOINT, 1).table
    cell = rivals.Rival(kind, number, 1, str(found.folder.path), "", limit, found.summary["size_bytes"], 3, table)
    return limit, found, rivals.made(cell)


def test_two_stages_keep_the_latency(settings):
    limit, found, made = rival(settings, "two stages", "float32")
    architecture = TABLE.space.checked(made["architecture"])
    assert TABLE.ms(architecture) <= limit and made["width"] == 1
    assert {option.bits for option in found.folder.table.space.options} == {16}
    assert 0 < made["accuracy"] <= 1 and made["size_bytes"] > 0


def test_random_networks_keep_the_latency_and_differ(settings):
    found = []
    for number in (0, 1):
        limit, _, made = rival(settings, "random", runs.JOINT, number)
        assert TABLE.ms(TABLE.space.checked(made["architecture"])) <= limit
        found.append(made["architecture"])
    assert found[0] != found[1]


def test_the_uniform_network_has_the_size_of_the_joint_one(settings):
    _, found, made = rival(settings, "uniform", runs.JOINT)
    assert made["size_bytes"] == pytest.approx(found.summary["size_bytes"], rel=0.15)
    assert {tuple(option) for option in made["architecture"]} == {(3, 6, 8)}


def test_channels_grow_in_fours():
    space = SPACES["small"]
    assert rivals.with_channels(space, 1.0) == space
    twice = rivals.with_channels(space, 2.0)
    assert (twice.stem, twice.head) == (32, 768) and [stage.channels for stage in twice.stages] == [32, 48, 96, 192]
    assert min(stage.channels for stage in rivals.with_channels(space, 0.01).stages) == 4


def test_costs_of_the_second_stage_are_never_too_low():
    """They add up, as the planning unit wants; only neighbours in float32 cost less in truth."""
    architecture = TABLE.space.same((5, 3, 8))
    cell = rivals.Rival("two stages", 0, 1, "", "", 1.0, 1, 3, "")
    # A device that computes 4 bits as 8, such as this machine.
    table = dataclasses.replace(TABLE, switch_ms=TABLE.switch_ms[:, [1, 1, 2]][:, :, [1, 1, 2]])
    problem = rivals._problem(table, architecture, cell)
    for bits in itertools.product((4, 8, 16), repeat=4):
        truth = table.ms(tuple(option._replace(bits=width) for option, width in zip(architecture, bits, strict=True)))
        told = problem.costs(Policy(bits, (8,) * 4, 0)).latency_ms
        neighbours = any(pair == (16, 16) for pair in itertools.pairwise(bits))
        assert told == pytest.approx(truth) or (neighbours and told > truth)


def test_a_search_of_another_configuration_is_put_aside(settings, capsys):
    [first] = runs.searches(settings, runs.JOINT)[runs.JOINT]
    [again] = runs.searches(settings, runs.JOINT)[runs.JOINT]
    assert again.summary == first.summary and "put aside" not in capsys.readouterr().err
    path = first.folder.path / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"seed": 5}))
    [new] = runs.searches(settings, runs.JOINT)[runs.JOINT]
    aside = path.parent.with_name(f"{path.parent.name}.aside-1")
    assert f"it is put aside as {aside}" in capsys.readouterr().err
    timeless = [{k: v for k, v in one.summary.items() if not k.endswith("_s")} for one in (first, new)]
    assert timeless[0] == timeless[1] and NasFolder.open(aside).config["seed"] == 5


def test_every_study_is_a_search_and_changes_something():
    usual = runs.config_of(runs.JOINT, "cpu", 1, "measured")
    for study in runs.STUDIES:
        config = runs.config_of(study, "cpu", 1, "measured")
        assert NasConfig.from_json(config.to_json()) == config
        assert (config == usual) == (study == runs.JOINT)


def test_they_have_a_page_of_their_own():
    assert page_of("hqnas-front") == "hqnas" and page_of("outliers") == "results"
