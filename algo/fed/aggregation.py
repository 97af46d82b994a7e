"""How the server makes one update of many: what does not count and why, what is shortened, and what is averaged.

Every update is taken as a difference to what its client had been sent. Lengths are root mean squares, so that clients
which hold more slices are not longer. The server knows no image, so it can only compare clients with each other:

* **Too long.** An update that is more than `TOO_LONG` times as long as the median one does not count. Neither does a
  client while the mean of its `strengths` in the last rounds is above `STRONG`. A strength is the length over the
  median one, or the same of lengths per image if that is less: a client with more images takes more steps, and is
  between the two.
* **Against all others.** Of each update the cosine with the coordinate-wise median of the others is taken, without the
  last layer, which other classes pull elsewhere. Cosines of the federation's first `FIRST` rounds decide, for good: a
  client does not count while their mean is more than `AGAINST` standard errors below 0, from `EARLIEST` of them on.
  Later honest clients go against the others, too, above all those with many images: little is left to learn, and each
  pulls to its own classes. So who comes later is not judged by its cosines.
* **Too many images.** A client that says it has more than `TOO_MANY` times as many images as the median one does not
  count, and neither does one that says another number than before.
* **Longer than the weights.** An update that is more than `TOO_FAR` times as long as what the client had been sent
  does not count, however few clients there are.
* **Clipping.** In each slice an update is at most ``clip`` times as long as the median one of that slice.
* **Trimmed mean.** With ``trim`` of k, the k highest and the k lowest values of each weight are left out, and clients
  count alike (Yin et al., ICML 2018). Slices that at most 2k clients hold take the median.

All others need at least three clients, for the median of two says nothing; cosines need four, since one is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from algo.fed.slices import Floats, Layout, averaged

TOO_LONG, STRONG, AGAINST, TOO_MANY, TOO_FAR = 10.0, 2.2, 3.0, 10.0, 10.0
#: Rounds that a client's mean strength is of, at most and at least.
LAST, LEAST = 8, 3
#: Rounds of a federation whose cosines decide; and how many of these a client must have.
FIRST, EARLIEST = 8, 4
_FEWEST = 3
#: The last layer of every network, by the beginning of its tensors' names.
_CLASSIFIERS = ("last.", "classifier.")


@dataclass(frozen=True)
class Update:
    """What a client has sent.

    Attributes:
        held: numbers of its slices.
        changes: of each of these, to what it had been sent.
        images: that it learned from.
        weights: root mean square of what it had been sent.
    """

    held: tuple[int, ...]
    changes: tuple[Floats, ...]
    images: int
    weights: float = math.inf

    @property
    def length(self) -> float:
        """Root mean square of all changes."""
        squares = sum(float(np.vdot(own.astype(np.float64), own)) for own in self.changes)
        return float(np.sqrt(squares / max(1, sum(len(own) for own in self.changes))))


def doubtful(
    updates: Mapping[int, Update], agreements: Mapping[int, Sequence[float]], strong: Mapping[int, Sequence[float]]
) -> dict[int, str]:
    """By client, why its update does not count; compares clients with each other.

    Args:
        updates: of this round.
        agreements: by client, `cosines` of the first `FIRST` rounds of the federation, as far as it has them.
        strong: by client, `strengths` of its rounds, this one last; only the last `LAST` count.
    """
    lengths = {client: own.length for client, own in updates.items()}
    found = {
        client: f"its update is {lengths[client] / own.weights:.3g} times as long as the weights"
        for client, own in updates.items()
        if lengths[client] > TOO_FAR * own.weights
    }
    if len(updates) < _FEWEST:
        return found
    usual, images = float(np.median(list(lengths.values()))), float(np.median([one.images for one in updates.values()]))
    for client, own in updates.items():
        known, lately = agreements.get(client, ()), strong.get(client, ())[-LAST:]
        if client in found:
            continue
        if own.images > TOO_MANY * images:
            found[client] = f"it says {own.images} images, and the median client {images:g}"
        elif usual > 0 and lengths[client] > TOO_LONG * usual:
            found[client] = f"its update is {lengths[client] / usual:.0f} times as long as the median one"
        elif len(lately) >= LEAST and _mean(lately) > STRONG:
            found[client] = (
                f"its updates of the last {len(lately)} rounds are {_mean(lately):.1f} times as long as its images "
                "allow"
            )
        elif len(known) >= EARLIEST and _mean(known) < -AGAINST * _standard_error(known):
            found[client] = (
                f"its updates go against the others' (mean cosine {_mean(known):.3f} in {len(known)} of the first "
                f"{FIRST} rounds)"
            )
    return found


def strengths(updates: Mapping[int, Update]) -> dict[int, float]:
    """Of each client, its update's length over the median one, or that of lengths per image if it is less."""
    if len(updates) < _FEWEST:
        return {}
    lengths = np.array([own.length for own in updates.values()])
    per_image = lengths / [own.images for own in updates.values()]
    if not np.median(lengths) or not np.median(per_image):
        return {}
    least = np.minimum(lengths / np.median(lengths), per_image / np.median(per_image))
    return dict(zip(updates, least.tolist(), strict=True))


def cosines(layout: Layout, updates: Mapping[int, Update]) -> dict[int, float]:
    """Of each client's update and the coordinate-wise median of the others'; slices that too few hold do not count."""
    products = dict.fromkeys(updates, 0.0)
    own_squares, other_squares = dict.fromkeys(updates, 0.0), dict.fromkeys(updates, 0.0)
    for number, cut in enumerate(layout.slices):
        known = {
            client: one.changes[one.held.index(number)].astype(np.float64)
            for client, one in updates.items()
            if number in one.held
        }
        if len(known) <= _FEWEST or cut.tensor.startswith(_CLASSIFIERS):
            continue
        for client, own in known.items():
            middle = np.median([other for number_, other in known.items() if number_ != client], axis=0)
            products[client] += float(own @ middle)
            own_squares[client] += float(own @ own)
            other_squares[client] += float(middle @ middle)
    return {
        client: product / float(np.sqrt(own_squares[client] * other_squares[client]))
        for client, product in products.items()
        if own_squares[client] > 0 and other_squares[client] > 0
    }


def clipped(layout: Layout, updates: Mapping[int, Update], clip: float) -> dict[int, Update]:
    """Updates that are at most ``clip`` times as long as the median one, in each slice; 0 leaves all as they are."""
    if not clip:
        return dict(updates)
    found = {client: list(own.changes) for client, own in updates.items()}
    for number in range(len(layout.slices)):
        places = {client: own.held.index(number) for client, own in updates.items() if number in own.held}
        if len(places) < _FEWEST:
            continue
        lengths = {client: _rms(found[client][place]) for client, place in places.items()}
        most = clip * float(np.median(list(lengths.values())))
        for client, place in places.items():
            if most < lengths[client]:
                found[client][place] = (found[client][place] * (most / lengths[client])).astype(np.float32)
    return {client: Update(own.held, tuple(found[client]), own.images) for client, own in updates.items()}


def aggregated(
    layout: Layout, before: Sequence[Floats], updates: Sequence[tuple[Update, Sequence[Floats]]], trim: int = 0
) -> list[Floats]:
    """Every slice's new value; a slice that no client holds stays as it was.

    Args:
        layout: of the model.
        before: every slice, before this round.
        updates: what clients have sent, with what each of its slices was when the client was sent it.
        trim: how many values are left out at each end; 0 for the mean weighted by images.
    """
    values = [
        (own.held, [known + change for known, change in zip(sent, own.changes, strict=True)], float(own.images))
        for own, sent in updates
    ]
    if not trim:
        return averaged(layout, values, before)
    found = []
    for number, known in enumerate(before):
        all_ = [own[held.index(number)] for held, own, _ in values if number in held]
        if not all_:
            found.append(known)
        elif len(all_) <= 2 * trim:
            found.append(np.median(all_, axis=0).astype(np.float32))
        else:
            found.append(np.sort(all_, axis=0)[trim : len(all_) - trim].mean(0, dtype=np.float64).astype(np.float32))
    return found


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2))) if len(values) else 0.0


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _standard_error(values: Sequence[float]) -> float:
    """Of the mean."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))
