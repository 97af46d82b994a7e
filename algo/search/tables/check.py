"""Check that a table of shared weights ranks policies as separate retraining would."""

from __future__ import annotations

from typing import Any

import numpy as np

from algo.nets.training_config import TrainingConfig
from algo.search.tables.build import Recipe, Workers, images_digest, retrained_accuracy
from algo.search.tables.policy_table import Floats, PolicyTable


def recipe_of(table: PolicyTable) -> Recipe:
    """What a table of `algo.search.tables.build` was made by; raises ValueError for another."""
    try:
        given = dict(table.origin["recipe"])
        return Recipe(**given | {"choices": tuple(given["choices"]), "training": TrainingConfig(**given["training"])})
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"its metadata do not say how the table was built ({error}): only tables of `rlu table build` can be "
            "compared with retraining"
        ) from error


def against_retrained(table: PolicyTable, sample: int, workers: Workers) -> dict[str, Any]:
    """Retrain some policies, each separately from the pre-trained weights, and compare with the table.

    Args:
        table: of `algo.search.tables.build`.
        sample: number of policies, at least 10; always the same ones.
        workers: who does the work.

    Returns:
        ``retrained_policies``; ``spearman`` correlation of accuracies, with its 95 % ``spearman_interval``
        (bootstrap over policies); ``retrained_mean`` and ``table_mean`` accuracy; ``spearman_seeds``: the correlation
        of retrained accuracies between the first two seeds, if there are two: the best that can be expected.

    Raises:
        ValueError: if the table has fewer policies, was made in another way, or was made of other images.
    """
    from scipy.stats import bootstrap

    recipe = recipe_of(table)
    # Tables of earlier versions have no digest.
    if table.origin.get("images_sha256", present := images_digest(recipe)) != present:
        raise ValueError(
            f"the data {recipe.data} are not the data that the table was built from (SHA-256 {present[:12]}..., not "
            f"{str(table.origin['images_sha256'])[:12]}...): put back what was there, or build the table again"
        )
    choices, count = table.space.choices("weight_bits"), table.space.size // len(table.points)
    if not 10 <= sample <= count:
        raise ValueError(f"the number of policies to retrain must be in 10..{count}, not {sample}")
    chosen = np.random.default_rng(1).choice(count, sample, replace=False)
    digits = np.array(np.unravel_index(chosen, (len(choices),) * table.layers)).T
    policies = [tuple(choices[digit] for digit in row) for row in digits.tolist()]
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
