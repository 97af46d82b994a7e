"""A client's own network after the run, as a file that can be loaded without the run."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from algo.fed.config import FedConfig
from algo.fed.federation import learner_of
from algo.fed.learners import Learner, Preference
from algo.nas.batch_norm import batches, recalibrate
from algo.nas.latency_table import LatencyTable
from algo.nets.saving import saved
from algo.support.user_files import check_object, parse_json, reading

_FORMAT = "rlu fed network 1"
#: Images that averages of batch normalisation are taken of at once.
_BATCH = 256


def file_of(config: FedConfig, table: LatencyTable, learner: Learner, images: Tensor) -> bytes:
    """The content of the file.

    Batch normalisation gets averages over the client's images, for a network alone sees one image at a time. In the
    run each batch had its own statistics, so accuracies differ a little.

    Args:
        config: of the run.
        table: of the client's device.
        learner: with the network; its averages change.
        images: float32 (N, channels, height, width), of the client.
    """
    recalibrate(learner.network, batches(images, _BATCH))
    content = {
        "format": _FORMAT,
        "run": json.dumps(config.to_json()),
        "table": json.dumps(table.to_json()),
        "network": {name: value.cpu() for name, value in learner.network.state_dict().items()},
    }
    return saved(content)


def load(path: Path | str) -> nn.Module:
    """A network in evaluation mode, on the CPU.

    Its input is float32 (N, channels, height, width), normalised as `algo.nets.data.datasets.load_dataset` does it,
    and its output logits (N, classes). Weights have the bits that the client's network has.

    Args:
        path: of `networks/N.pt` in the folder of a run, or `network.pt` in that of a client.

    Raises:
        ValueError: for a file that is damaged, or of another version.
    """
    path = Path(path)
    with reading(path, "{} cannot be used", "run rlu fed again to make it"):
        content = torch.load(path, weights_only=True, map_location="cpu")
        check_object(content, {"format": str, "run": str, "table": str}, "what it holds")
        if content["format"] != _FORMAT:
            raise ValueError(f"its format must be {_FORMAT!r}, not {content['format']!r}")
        config = FedConfig.from_json(parse_json(content["run"]))
        table = LatencyTable.from_json(parse_json(content["table"]))
        network = learner_of(config, table, Preference()).network.cpu()
        network.load_state_dict(content["network"])
    return network.eval()
