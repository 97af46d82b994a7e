"""Building tables: the walk over the tree of policies, the work cut into cells, the shipped tables."""

import hashlib
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from algo.chips.evolver import EvolverChip
from algo.published.evolver import vgg8_layers
from algo.search.tables import qvf_bench
from algo.search.tables.table_file import read_table, write_table
from algo.space.layers import LayerShape
from algo.space.policy import Policy
from tests.places import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from torch import nn  # noqa: E402

from algo.cli import rlu  # noqa: E402
from algo.nets.models.resnet34 import ResNet34  # noqa: E402
from algo.nets.models.vgg8 import VGG8  # noqa: E402
from algo.nets.quantisation import quantise, quantised_layers, set_bits  # noqa: E402
from algo.nets.train.pretraining import Pretrained, pretrain  # noqa: E402
from algo.nets.train.retrainer import Retrainer  # noqa: E402
from algo.nets.train.sgd import accuracy_of, reproducible  # noqa: E402
from algo.nets.train.weight_sharing import right_answers, stages, train_shared  # noqa: E402
from algo.nets.training_config import TrainingConfig  # noqa: E402
from algo.search.tables import build as table_build  # noqa: E402
from algo.search.tables import check as table_check  # noqa: E402
from algo.search.tables.build import Recipe, State, Workers, build  # noqa: E402
from algo.search.tables.check import recipe_of  # noqa: E402

CARD = ROOT / "docs" / "use" / "qvf-bench.md"
QUICK = TrainingConfig(pretrain_epochs=0, int8_epochs=1, batch_size=20)
TINY = Recipe(
    width=1, noise_std=0.5, pretrain_images=40, local_images=40, test_images=30, steps=3, calibration=16,
    choices=(2, 8), training=QUICK,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with reproducible(1):
        yield


def network():
    torch.manual_seed(1)
    inner = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.ReLU(inplace=True))
    outer = nn.Sequential(
        nn.ReLU(inplace=True), inner, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(1),
        nn.Linear(4 * 4, 5), nn.BatchNorm1d(5), nn.Linear(5, 4),
    )  # fmt: skip
    return quantise(outer)


def image_set(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 10, 10, generator=generator), torch.randint(0, 4, (count,), generator=generator)


def test_the_walk_equals_each_policy_by_itself():
    """Bit for bit: both run the same modules on the same batches."""
    calibration, _ = image_set(20, 1)
    images, labels = image_set(50, 2)
    choices = (2, 3, 8)
    with reproducible(1):
        expected = []
        for bits in itertools.product(choices, repeat=4):
            model = network()
            set_bits(model, bits, (8,) * 4)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                    module.momentum = 1.0
            model.train()
            with torch.no_grad():
                model(calibration.clone())
            expected.append(accuracy_of(model, images.clone(), labels) * len(images))
        given = calibration.clone(), images.clone()
        model = network()
        train_shared(model, *image_set(6, 3), QUICK, 1, (choices,) * 4, seed=1)  # what went before leaves no trace
        model.load_state_dict(network().state_dict())
        found = right_answers(model, (choices,) * 4, (), calibration, images, labels)
        assert found.tolist() == pytest.approx(expected, abs=1e-9) and len(set(found.tolist())) > 5
        branch = right_answers(model, (choices,) * 4, (3, 8), calibration, images, labels)
    assert branch.tolist() == found.reshape(3, 3, 9)[1, 2].tolist()
    assert torch.equal(given[0], calibration) and torch.equal(given[1], images)


def test_vgg8_is_cut_into_eight_parts_that_make_the_whole():
    model = quantise(VGG8(10, 1, 1))
    images = torch.randn(4, 1, 32, 32)
    model(images)
    model.eval()
    assert [len(quantised_layers(part)) for part in stages(model)] == [1] * 8
    assert torch.equal(nn.Sequential(*stages(model))(images), model(images))


def test_refuses_networks_that_are_no_chain():
    with pytest.raises(ValueError, match="module '' is a ResNet34, whose layers may be in any order"):
        stages(quantise(ResNet34(10, 1, 1)))
    layer = nn.Linear(4, 4)
    with pytest.raises(ValueError, match=r"layer '2' is used twice"):
        stages(quantise(nn.Sequential(layer, nn.ReLU(), layer)))


def test_shared_training_draws_all_bit_widths_and_is_repeatable():
    images, labels = image_set(60, 3)
    model, drawn = network(), set()
    model.register_forward_hook(lambda *_: drawn.add(tuple(m.weight_bits for _, m in quantised_layers(model))))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = TrainingConfig(batch_size=6)
    train_shared(model, images, labels, config, 4, ((2, 4),) * 4, seed=5)
    assert len(drawn) > 12 and set().union(*drawn) == {2, 4}  # of 16 in 40 draws
    again = network()
    train_shared(again, images, labels, config, 4, ((2, 4),) * 4, seed=5)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(before["2.weight"], model.state_dict()["2.weight"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def tiny(folder):
    return build(TINY, "shared", [1, 2], Workers(folder, 1))


def test_a_built_table_is_whole(tiny, tmp_path):
    assert tiny.space.size == 2**8 * 9 and tiny.layer_names[0] == "features.0"
    assert np.array_equal(tiny.accuracy.reshape(256, 9), np.repeat(tiny.accuracy[::9, None], 9, 1))
    assert tiny.accuracy_std.max() > 0 and len(set(tiny.accuracy.tolist())) > 3
    policy = Policy((2, 8, 8, 2, 2, 2, 8, 8), (8,) * 8, 4)
    assert tiny.measure(policy) == EvolverChip().measure(policy)
    write_table(tiny, tmp_path / "t.parquet")
    assert recipe_of(read_table(tmp_path / "t.parquet")) == TINY
    assert read_table(tmp_path / "t.parquet").origin["images_sha256"] == table_build.images_digest(TINY)


def test_another_chip_gives_other_latencies_and_energies(tiny, folder):
    layers = vgg8_layers(4, 1, 10)
    chip = EvolverChip(layers)
    other = build(TINY, "shared", [1, 2], Workers(folder, 1), chip)
    policy = Policy((2, 8, 8, 2, 2, 2, 8, 8), (8,) * 8, 4)
    assert np.array_equal(other.accuracy, tiny.accuracy)
    assert other.measure(policy) == chip.measure(policy) != tiny.measure(policy)
    assert other.source.endswith(f"latency and energy: {chip.name}, {chip.origin}")
    other_widths = replace(TINY, choices=(3, 8))
    with pytest.raises(ValueError, match="must be one of 2, 4, 8, not 3"):
        build(other_widths, "shared", [1], Workers(folder / "never made", 1), chip)
    assert not (folder / "never made").exists()  # refused before any training
    with pytest.raises(ValueError, match="the chip's network has 7 layers with weights; vgg8 has 8"):
        build(TINY, "shared", [1, 2], Workers(folder, 1), EvolverChip(layers[:-1]))


def test_accuracy_is_what_the_shared_network_answers(tiny, folder):
    """One policy by hand, through the cells' own weights."""
    workers = Workers(folder, 1)
    starts = table_build.starts(TINY, [1, 2], workers)
    bits, each = (8, 2, 2, 8, 8, 8, 2, 8), []
    for start in starts:
        state = State(table_build.shared(start))
        cell = table_build.Cell(TINY, start.origin, start.seed, state, bits)
        each.append(table_build.tested(cell)[0] / TINY.test_images)
    place = tiny.index(tiny.space.encode(Policy(bits, (8,) * 8, 0)))
    assert tiny.accuracy[place] == pytest.approx(np.mean(each))
    assert tiny.accuracy_std[place] == pytest.approx(np.std(each, ddof=1))


@pytest.mark.parametrize("weights", ["shared", "retrained"])
def test_each_layer_has_the_bit_widths_that_the_chip_gives_it(weights, tmp_path):
    """By the command, with data, network and chip of one's own, whose folders the table does not name."""
    private = tmp_path / "private"
    private.mkdir()
    rng = np.random.default_rng(1)
    labels = np.arange(80) % 2
    images = (rng.random((80, 8, 8)) * 100 + 100 * labels[:, None, None]).astype(np.uint8)
    np.savez(private / "mine.npz", images=images, labels=labels)
    (private / "net.py").write_text(
        "from torch import nn\n"
        "def make(classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), "
        "nn.Linear(3, classes))\n"
    )
    (private / "chip.yaml").write_text(
        "model: bit-scalable\noperating_points: [{voltage_v: 0.8, frequency_mhz: 200}]\n"
        "bit_widths: [2, 8]\nlayer_bit_widths: {'3': [4, 6, 8], '5': [8]}\n"
        "constants: {macs_per_cycle: 256, memory_gbit_per_s: 50, mac_energy_pj: 0.1, leakage_mw: 1, "
        "memory_energy_pj_per_bit: 0.2}\n"
    )
    given = {"data": str(private / "mine.npz"), "network": f"{private / 'net.py'}:make"}
    out, cells = tmp_path / "t.parquet", str(tmp_path / "cells")
    wanted = [part for name, value in given.items() for part in (f"--{name}", value)]
    common = ["--folder", cells, "--jobs", "1", "--json"]
    done = CliRunner().invoke(
        rlu,
        ["table", "build", *wanted, "--chip", str(private / "chip.yaml"), "--weights", weights, "--seeds", "1",
         "--steps", "2", "--test-images", "20", "-o", str(out), *common],
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    table = read_table(out)
    choices = [row.values("weight_bits") for row in table.space.rows[:-1]]
    assert choices == [(2, 8), (4, 6, 8), (8,)] and table.space.size == 6
    recipe = recipe_of(table, **given)
    bits = (2, 6, 8)
    cell = table_build.starts(recipe, [1], Workers(tmp_path / "cells", 1))[0]
    if weights == "shared":
        shared = State(table_build.shared(cell))
        right = table_build.tested(replace(cell, start=shared, bits=bits[:2]))
        assert right == [round(20 * table.accuracy_of(Policy(bits, (8,) * 3, 0)))]
    else:
        assert table_build.retrained(replace(cell, bits=bits)) == table.accuracy_of(Policy(bits, (8,) * 3, 0))
    content = out.read_bytes() + json.dumps([table.source, table.origin]).encode()
    assert str(private).encode() not in content and b"private" not in content
    assert " net.py:make on mine.npz with noise" in table.source and "constants of chip.yaml" in table.source

    check = ["table", "check", str(out), *common]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_check, "FEWEST", 2)
        done = CliRunner().invoke(rlu, [*check, "--against-retrained", "5"])
        assert "the table was built with the data 'mine.npz', which is not here: give its path, --data" in str(
            done.exception
        )
        done = CliRunner().invoke(rlu, [*check, "--against-retrained", "5", *wanted[:2]])
        assert "built with the network 'net.py:make', which is not here: give its path, --network" in str(
            done.exception
        )
        done = CliRunner().invoke(rlu, [*check, "--against-retrained", "5", *wanted])
        assert done.exit_code == 0, done.exception
        if weights == "retrained":
            found = json.loads(done.stdout)
            assert found["retrained_mean"] == pytest.approx(found["table_mean"])
        (private / "net.py").write_text(
            (private / "net.py").read_text().replace("nn.Linear(64, 4)", "nn.Linear(64, 4 )")
        )
        done = CliRunner().invoke(rlu, [*check, "--against-retrained", "5", *wanted])
        assert "net.py:make is not the one that the table was built with" in str(done.exception)
        done = CliRunner().invoke(rlu, [*check, *wanted])
        assert "--data is for --against-retrained" in str(done.exception)


@pytest.mark.parametrize("weights", ["shared", "retrained"])
@pytest.mark.parametrize(
    ("widths", "choices", "activations"),
    [
        ("bit_widths: [2, 4, 6]", [(2, 4, 6)] * 2, (6, 6)),
        ("bit_widths: [2, 4, 8]\nlayer_bit_widths: {'3': [2, 3]}", [(2, 4, 8), (2, 3)], (8, 3)),
    ],
)
def test_activations_are_at_the_widest_that_the_chip_knows(weights, widths, choices, activations, tmp_path):
    """As in `rlu tune`; the check retrains with them, so retrained accuracies are the table's own."""
    rng = np.random.default_rng(1)
    labels = np.arange(120) % 4
    images = (rng.random((120, 4, 4)) * 200 + 15 * labels[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make(classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, classes))\n"
    )
    (tmp_path / "chip.yaml").write_text(
        f"model: bit-scalable\noperating_points: [{{voltage_v: 0.8, frequency_mhz: 200}}]\n{widths}\n"
        "constants: {macs_per_cycle: 256, memory_gbit_per_s: 50, mac_energy_pj: 0.1, leakage_mw: 1, "
        "memory_energy_pj_per_bit: 0.2}\n"
    )
    given = {"data": str(tmp_path / "mine.npz"), "network": f"{tmp_path / 'net.py'}:make"}
    own = [part for name, value in given.items() for part in (f"--{name}", value)]
    out, workers = tmp_path / "t.parquet", Workers(tmp_path / "cells", 1)
    common = ["--folder", str(workers.folder), "--jobs", "1", "--json"]
    done = CliRunner().invoke(
        rlu,
        ["table", "build", *own, "--chip", str(tmp_path / "chip.yaml"), "--weights", weights, "--seeds", "1",
         "--steps", "5", "--test-images", "60", "--noise-std", "0.1", "-o", str(out), *common],
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    table = read_table(out)
    assert [tuple(sorted(set(row.values("weight_bits")))) for row in table.space.rows[:-1]] == choices
    assert [set(row.values("activation_bits")) for row in table.space.rows[:-1]] == [{bits} for bits in activations]
    recipe = recipe_of(table, **given)
    assert recipe.layer_activation_bits(2) == activations
    policies = list(itertools.product(*choices))
    listed = [table.accuracy_of(Policy(bits, activations, 0)) for bits in policies]
    [cell] = table_build.starts(recipe, [1], workers)
    [usual] = table_build.starts(replace(recipe, activation_bits=8), [1], workers)
    assert usual.origin != cell.origin and repr(usual.start) == repr(cell.start)
    task, (dataset, local), by_hand = table_build.task_of(recipe), table_build.images(recipe), []
    if weights == "retrained":
        start = pretrain(dataset, recipe.training, task.make_model)
        for fixed in (activations, (8, 8)):
            retrainer = Retrainer(start, local, recipe.training, "restarted", 1)
            by_hand.append([retrainer.accuracy(Policy(bits, fixed, 0), 0) for bits in policies])
    else:
        state, as_usual = State(table_build.shared(cell)), State(table_build.shared(usual))
        assert repr(state) != repr(as_usual)
        known = local.train_images[: recipe.calibration], local.test_images, local.test_labels
        for fixed in (activations, (8, 8)):
            model = quantise(task.make_model())
            model.load_state_dict({name: torch.from_numpy(value) for name, value in state.arrays.items()})
            right = right_answers(model, choices, (), *map(torch.from_numpy, known), fixed)
            by_hand.append((right / recipe.test_images).tolist())
    assert listed == by_hand[0] != by_hand[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_check, "FEWEST", 2)
        done = CliRunner().invoke(
            rlu, ["table", "check", str(out), *common, *own, "--against-retrained", str(len(policies))]
        )
    assert done.exit_code == 0, done.exception
    if weights == "retrained":
        found = json.loads(done.stdout)
        assert found["retrained_mean"] == pytest.approx(found["table_mean"]) and found["spearman"] == pytest.approx(1)


def test_shared_training_keeps_activations_at_their_bit_widths():
    images, labels = image_set(12, 3)
    model, seen = network(), set()
    model.register_forward_hook(lambda *_: seen.add(tuple(m.activation_bits for _, m in quantised_layers(model))))
    for given, expected in (((), (8, 8, 8, 8)), (((6, 3, 8, 2),), (6, 3, 8, 2))):
        seen.clear()
        train_shared(model, images, labels, QUICK, 1, ((2, 4),) * 4, 5, *given)
        assert seen == {expected}


def test_activation_bits_are_no_part_of_a_recipes_text():
    """Cells of recipes with other ones than 8 are told apart by their origin, those with 8 are the earlier ones."""
    workers = Workers(None, 1)
    recipes = [replace(TINY, activation_bits=bits) for bits in (8, (8,) * 8, 6, (6,) * 8, (8,) * 7 + (6,))]
    assert {repr(recipe) for recipe in recipes} == {repr(TINY)} and "activation_bits" not in repr(TINY)
    origins = [table_build.starts(recipe, [1], workers)[0].origin for recipe in recipes]
    assert origins[0] == repr(
        (1, torch.__version__, table_build.training_device().type, table_build.images_digest(TINY))
    )
    assert origins[0] == origins[1] and origins[2] == origins[3] and len(set(origins)) == 3


def test_cells_of_earlier_versions_are_found():
    """Their keys are made of this text: the recipe of the shipped tables, and one with everything else."""
    training = (
        "TrainingConfig(pretrain_epochs=6, int8_epochs=3, pretrain_batch_size=32, pretrain_learning_rate=0.05, "
        "int8_learning_rate=0.01, epochs_per_iteration=1, batch_size=100, learning_rate=0.01, lr_schedule='constant', "
        "lr_k=2.0, activation_range='minmax', fold_batch_norm=False, momentum=0.9, weight_decay=0.0001, threads=1)"
    )
    assert repr(Recipe()) == (
        "Recipe(data='digits', width=2, noise_std=2.5, pretrain_images=6000, local_images=None, test_images=2400, "
        f"steps=500, calibration=256, choices=(2, 4, 8), training={training})"
    )
    other = Recipe(data="x.npz", width=3, choices=(2, 8), network="resnet34", data_folder="/a")
    assert repr(table_build.Cell(other, "o", 1)) == (
        "Cell(recipe=Recipe(data='x.npz', width=3, noise_std=1.5, pretrain_images=6000, local_images=None, "
        f"test_images=2400, steps=500, calibration=256, choices=(2, 8), training={training}), origin='o', seed=1, "
        "start=None, bits=())"
    )


def test_an_interrupted_build_goes_on(tiny, folder, monkeypatch):
    """With some cells lost, just these are computed again, and the table is the same; test_cells.py kills."""
    files = sorted(folder.iterdir())
    lost = [path for path in files if b"table_build.tested" in path.read_bytes()][::3]
    assert len(files) == 2 + 2 + 2 * 4 and len(lost) == 3
    for path in lost:
        path.unlink()
    calls = []
    real = table_build.right_answers
    monkeypatch.setattr(table_build, "right_answers", lambda *given: calls.append(given) or real(*given))
    again = build(TINY, "shared", [1, 2], Workers(folder, 1))
    assert len(calls) == 3 and sorted(folder.iterdir()) == files
    assert np.array_equal(again.accuracy, tiny.accuracy) and np.array_equal(again.accuracy_std, tiny.accuracy_std)


def test_retrained_accuracy_is_the_retrainers(folder):
    bits = (8, 2, 2, 8, 8, 8, 2, 8)
    [[found]] = table_build.retrained_accuracy(TINY, [1], [bits], Workers(folder, 1))
    dataset, local = table_build.images(TINY)
    start: Pretrained = pretrain(dataset, QUICK, lambda: VGG8(10, 1, 1))
    assert found == Retrainer(start, local, QUICK, "restarted", 1).accuracy(Policy(bits, (8,) * 8, 3), 0)


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, -1.0), (0, 0.0)])
def test_ranks_against_retraining(sign, expected, tiny, monkeypatch):
    def retrain(recipe, seeds, policies, workers):
        assert recipe == TINY and seeds == [1, 2] and len(set(policies)) == 60
        listed = [tiny.accuracy_of(Policy(bits, (8,) * 8, 0)) for bits in policies]
        return sign * np.array([listed, listed])

    monkeypatch.setattr(table_check, "retrained_accuracy", retrain)
    found = table_check.against_retrained(tiny, 60, Workers())
    assert found["spearman"] == pytest.approx(expected) and found["spearman_interval"] == pytest.approx([expected] * 2)
    with pytest.raises(ValueError, match=r"must be in 10\.\.256, not 9"):
        table_check.against_retrained(tiny, 9, Workers())


def test_retraining_on_other_images_is_refused(tiny, tmp_path):
    write_table(replace(tiny, origin=tiny.origin | {"images_sha256": "0" * 64}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"the data digits are not those that the table was built with \(SHA-256 "):
        table_check.against_retrained(read_table(tmp_path / "t.parquet"), 60, Workers())


def test_rank_correlation_equals_scipys():
    from scipy.stats import spearmanr

    first, second = np.random.default_rng(1).integers(0, 9, (2, 40)) * 0.1
    assert table_check._spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_test_images_are_none_of_those_trained_on():
    dataset, local = table_build.images(Recipe(local_images=300, test_images=1000, noise_std=0.0))
    assert len(dataset.test_images) == 499 and len(local.train_images) == 300 and len(local.test_images) == 1000
    trained = {image.tobytes() for image in local.train_images}
    assert not trained & {image.tobytes() for image in local.test_images}
    noisy = table_build.images(Recipe(local_images=300, test_images=1000))[1].test_images
    assert not np.array_equal(noisy[0], noisy[499])  # the same image, other noise
    assert np.allclose((noisy - local.test_images).std(), 2.5, rtol=0.01)


def test_own_network_needs_no_width(folder, tmp_path):
    """The width is passed only if it was asked for: the function then decides."""
    own = tmp_path / "own.py"
    own.write_text(
        "from torch import nn\ndef make(classes): return nn.Sequential(nn.Flatten(), nn.Linear(1024, classes))\n"
    )
    recipe = replace(TINY, data="digits", network=f"{own}:make", width=None)
    chip = EvolverChip((LayerShape("1", 10240, 10240, 1024, 10),))
    assert (recipe.width, Recipe().width) == (None, 2)
    table = build(recipe, "shared", [1], Workers(folder, 1), chip)
    assert table.space.size == 2 * len(chip.points)
    assert table.source.startswith("accuracy: own.py:make on digits with noise 0.5, ")
    with pytest.raises(ValueError, match=r"own\.py:make takes no width: leave it out"):
        build(replace(recipe, width=4), "shared", [1], Workers(folder, 1), chip)


def test_refuses_bad_recipes():
    with pytest.raises(ValueError, match=r"local images to train on must be 2\.\.798 of digits's, not 799"):
        table_build.images(Recipe(local_images=799))
    with pytest.raises(ValueError, match="width must be at least 1, not 0"):
        Recipe(width=0)
    with pytest.raises(ValueError, match=r"must be in 0\.\.100 \(normalised images have 1\), not nan"):
        Recipe(noise_std=float("nan"))
    with pytest.raises(ValueError, match="activation_bits are those of 3 layers; the network has 8"):
        build(replace(TINY, activation_bits=(8, 8, 6)), "shared", [1], Workers())
    with pytest.raises(ValueError, match="at least 1 seed"):
        build(TINY, "shared", [], Workers())


def test_the_command_checks_tables(tiny, tmp_path):
    path = tmp_path / "t.parquet"
    write_table(tiny, path)
    done = CliRunner().invoke(rlu, ["table", "check", str(path), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["policies"] == 2304
    done = CliRunner().invoke(rlu, ["table", "check", "digits", "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["policies"] == 59049
    done = CliRunner().invoke(rlu, ["table", "check", "no-such"])
    assert "unknown table 'no-such': choose cifar10, digits, fashion-mnist, or give a Parquet file" in str(
        done.exception
    )
    path.write_bytes(b"no table")
    done = CliRunner().invoke(rlu, ["table", "check", str(path), "--json"])
    assert type(done.exception).__name__ == "CheckFailed" and json.loads(done.stdout)["ok"] is False


@pytest.mark.parametrize("name", ["cifar10", "digits", "fashion-mnist"])
def test_shipped_tables_are_whole_and_match_their_card(name):
    assert name in qvf_bench.names()
    table = qvf_bench.load(name)
    assert table.space.size == len(table.accuracy) == 59049
    content = (qvf_bench.FOLDER / f"{name}.parquet").read_bytes()
    [line] = re.findall(rf"^\| `{name}` \|.*$", CARD.read_text(encoding="utf-8"), re.MULTILINE)
    assert f"`{hashlib.sha256(content).hexdigest()}`" in line
    low, mean, high = table.accuracy.min(), table.accuracy.mean(), table.accuracy.max()
    assert f"{low:.4f} to {high:.4f}, mean {mean:.4f}" in line and f"{table.accuracy_std.mean():.4f}" in line
    chip = EvolverChip()
    for row in range(0, 59049, 5003):
        actions = np.unravel_index(row, table.space.action_counts)
        cost = chip.measure(table.space.decode([int(action) for action in actions]))
        assert (table.latency_ms[row], table.energy_uj[row]) == pytest.approx((cost.latency_ms, cost.energy_uj))


def test_shipped_tables_are_small_and_all_documented():
    assert sum(path.stat().st_size for path in qvf_bench.FOLDER.iterdir()) < 5_000_000
    documented = re.findall(r"^\| `([\w-]+)` \|.* `[0-9a-f]{64}` \|$", CARD.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(documented) == list(qvf_bench.names())
    with pytest.raises(ValueError, match="unknown table 'imagenet': choose cifar10, digits"):
        qvf_bench.load("imagenet")
