"""What a search may be set to, and what is refused with the value and the reason."""

import pytest

from algo.nas.config import NasConfig, located


def test_without_an_aim_there_is_a_latency():
    assert NasConfig().aim.latency == "80%"
    assert NasConfig.of(mu=0.8, nu=0.2).aim.latency is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mu": 0.5, "nu": 0.6}, r"must add up to 1, not 0\.5 \+ 0\.6 = 1\.1"),
        ({"mu": 0.5}, "mu and nu go together"),
        ({"latency": "1ms", "mu": 0.5, "nu": 0.5}, "latency 1ms and the weights mu and nu exclude each other"),
        ({"warmup": 12}, "warmup must be below the 12 epochs, not 12"),
        ({"latency": "60"}, "a latency must be a number with its unit"),
        ({"space": "huge"}, "unknown space 'huge': the spaces are"),
        ({"bits": "4,,8"}, "is not a list of whole numbers"),
        ({"bits": "4,64"}, "bits must be in 2..16, not 64"),
        ({"paths": "all"}, "paths must be one of"),
        ({"seed": -1}, "seed must be in"),
        ({"dropout": 1.0}, "dropout must be"),
    ],
)
def test_bad_values_are_named(values, said):
    with pytest.raises(ValueError, match=said):
        NasConfig.of(**values)


def test_it_comes_back_from_json():
    config = NasConfig.of(mu=0.2, nu=0.8, bits="2,4,8", device="evolver", seed=7)
    assert NasConfig.from_json(config.to_json()) == config
    assert config.searched.bits == (2, 4, 8)
    with pytest.raises(ValueError, match="not a search of this version: format must be 'rlu nas search 2', not None"):
        NasConfig.from_json({})
    content = config.to_json()
    content["learning"]["more"] = 1
    with pytest.raises(ValueError, match=r"does not know the field learning\.more"):
        NasConfig.from_json(content)


def test_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = located(NasConfig.of(data="mine.npz", device="table.json"))
    assert config.data.data == str(tmp_path / "mine.npz") and config.space.device == str(tmp_path / "table.json")
    assert located(NasConfig()).space.device == "measured"
