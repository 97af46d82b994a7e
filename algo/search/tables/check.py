"""Check that a table of shared weights ranks policies as separate retraining would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from algo.nets.data.names import DATASETS
from algo.nets.registry import is_file_network, network_builder, split_file_network
from algo.nets.training_config import TrainingConfig
from algo.search.tables.build import Workers, images_digest, retrained_accuracy
from algo.search.tables.policy_table import Floats, PolicyTable
from algo.search.tables.recipe import Recipe

#: The fewest policies whose ranks are worth comparing.
FEWEST = 10


def recipe_of(table: PolicyTable, **where: str) -> Recipe:
    """What a table of `algo.search.tables.build` was made by; raises ValueError for another.

    Args:
        table: the table, which names a user's own files without their folders.
        where: where they are: ``data``, ``data_folder``, ``network``.
    """
    try:
        given = dict(table.origin["recipe"])
        given["choices"] = tuple(tuple(one) if isinstance(one, list) else one for one in given["choices"])
        if isinstance(given.get("activation_bits"), list):
            given["activation_bits"] = tuple(given["activation_bits"])
        return Recipe(**given | {"training": TrainingConfig(**given["training"])} | where)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"its metadata do not say how the table was built ({error}): only tables of `rlu table build` can be "
            "compared with retraining"
        ) from error


def _check_inputs(table: PolicyTable, recipe: Recipe) -> None:
    """Raise ValueError unless the data and the network are there, and those that the table was built with."""
    own = {} if recipe.data in DATASETS else {"data": Path(recipe.data)}
    if is_file_network(recipe.network):
        own["network"] = Path(split_file_network(recipe.network)[0])
    for name, path in own.items():
        if not path.exists():
            raise ValueError(
                f"the table was built with the {name} {getattr(recipe, name)!r}, which is not here: give its path, "
                f"--{name}"
            )
    # Tables of earlier versions have no digests.
    digests = {"network_sha256": network_builder(recipe.network).digest, "images_sha256": images_digest(recipe)}
    said = {
        "network_sha256": f"the network {recipe.network} is not the one",
        "images_sha256": f"the data {recipe.data} are not those",
    }
    for key, what in said.items():
        known, present = table.origin.get(key), str(digests[key])
        if known not in (None, present):
            raise ValueError(
                f"{what} that the table was built with (SHA-256 {present[:12]}..., not {str(known)[:12]}...): "
                "put back what was there, or build the table again"
            )


def against_retrained(table: PolicyTable, sample: int, workers: Workers, **where: str) -> dict[str, Any]:
    """Retrain some policies, each separately from the pre-trained weights, and compare with the table.

    Args:
        table: of `algo.search.tables.build`.
        sample: number of policies, at least 10; always the same ones.
        workers: who does the work.
        where: where the user's own files are: see `recipe_of`.

    Returns:
        ``retrained_policies``; ``spearman`` correlation of accuracies, with its 95 % ``spearman_interval``
        (bootstrap over policies); ``retrained_mean`` and ``table_mean`` accuracy; ``spearman_seeds``: the correlation
        of retrained accuracies between the first two seeds, if there are two: the best that can be expected.

    Raises:
        ValueError: if the table has fewer policies, was made in another way, or was made of other images.
    """
    from scipy.stats import bootstrap

    recipe = recipe_of(table, **where)
    _check_inputs(table, recipe)
    choices, count = recipe.layer_choices(table.layers), table.space.size // len(table.points)
    if not FEWEST <= sample <= count:
        raise ValueError(f"the number of policies to retrain must be in {FEWEST}..{count}, not {sample}")
    chosen = np.random.default_rng(1).choice(count, sample, replace=False)
    digits = np.array(np.unravel_index(chosen, table.space.action_counts[:-1])).T
    policies = [tuple(known[digit] for known, digit in zip(choices, row, strict=True)) for row in digits.tolist()]
    seeds = [int(seed) for seed in table.origin["seeds"]]
    each = retrained_accuracy(recipe, seeds, policies, workers)
    retrained, listed = each.mean(0), table.accuracy[chosen * len(table.points)]

    interval = bootstrap(
        (retrained, listed), _spearman, paired=True, n_resamples=2000, method="percentile", rng=1
    ).confidence_interval
    found = {
        "retrained_policies": sample,
        "spearman": float(_spearman(retrained, listed)),
        "spearman_interval": [float(interval.low), float(interval.high)],
        "retrained_mean": float(retrained.mean()),
        "table_mean": float(listed.mean()),
    }
    if len(seeds) > 1:
        found["spearman_seeds"] = float(_spearman(each[0], each[1]))
    return found


def _spearman(first: Floats, second: Floats, axis: int = -1) -> Floats:
    """Correlation of ranks; 0 where all are equal, since nothing is ranked then. scipy's takes no axis of pairs."""
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=axis) for values in (first, second)]
    a, b = (rank - rank.mean(axis, keepdims=True) for rank in ranks)
    scale = np.sqrt((a**2).sum(axis) * (b**2).sum(axis))
    correlation: Floats = np.divide((a * b).sum(axis), scale, out=np.zeros_like(scale), where=scale > 0)
    return correlation
