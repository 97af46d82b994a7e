"""A client is told of a run: what does not go together is refused by name, before anything is trained."""

import json
import zlib

import pytest

pytest.importorskip("flwr", reason="needs the packages of rlu-cosim[fed]")
pytest.importorskip("constriction", reason="needs the packages of rlu-cosim[fed]")

from algo.fed.config import DeviceConfig, FedConfig
from algo.fed.flower.device import DeviceFolder, Refused, greet, told
from algo.nas.space import SPACES
from tests.algo.nas.tables import made_up

TABLE = made_up(SPACES["tiny"])
RUN = FedConfig.of(space="tiny", clients=3, lda=0.5)


@pytest.fixture
def folder(tmp_path):
    own = DeviceConfig(index=2, data="digits", share=True)
    found = DeviceFolder.create(tmp_path / "client", own.to_json())
    found.release()
    return found


def changed(**more):
    return zlib.compress(json.dumps(json.loads(zlib.decompress(told(RUN, TABLE))) | more).encode())


def test_what_goes_together_is_kept(folder):
    said = greet(folder, told(RUN, TABLE))
    assert said["index"] == 2 and said["images"] > 20
    assert folder.run == RUN and folder.table.to_json() == TABLE.to_json()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(version="9.9"), "the server has rlu-cosim 9.9 with wire format"),
        (changed(wire=99), "with wire format 99, and the client"),
        (changed(flower="1.0.0"), "the server has Flower 1.0.0, and the client"),
        (told(FedConfig.of(space="tiny", clients=2), TABLE), "the run has 2 clients, from 0; there is no client 2"),
        (changed(table=TABLE.to_json() | {"classes": 7}), "the run has 7 classes, and the client's images have 10"),
        (told(RUN, made_up(SPACES["tiny"], (3, 32, 32))), "the run's images are 3x32x32, and the client's 1x32x32"),
        (zlib.compress(bytes(2**25 + 1)), "the server tells more than 33,554,432 bytes"),
    ],
)
def test_what_does_not_is_refused(folder, content, said):
    with pytest.raises(Refused, match=said):
        greet(folder, content)
    assert not folder.started
