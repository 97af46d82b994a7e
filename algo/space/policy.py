"""Policies, and the space they come from: a list of rows. Each row has a place, its dimensions and its choices.

It does not import torch, so everything except training can use it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from algo.space.dimensions import ACTIVATION_BITS, WEIGHT_BITS, dimension_named

#: The most actions that a row can have: what the RL unit can be built with.
MOST_ACTIONS = 16


@dataclass(frozen=True)
class OperatingPoint:
    """One voltage-frequency pair of the chip."""

    voltage_v: float
    frequency_mhz: float


@dataclass(frozen=True, init=False)
class Policy:
    """What one iteration of the search tries out.

    Args:
        weight_bits: bit-width of every layer's weights, input layer first.
        activation_bits: bit-width of every layer's input activations.
        point: index into the chip's operating points.
        more: values of other dimensions, one a layer, by their names.

    Attributes:
        values: name and values of every dimension; values in the order of the layers.
        point: see above.
    """

    values: tuple[tuple[str, tuple[int, ...]], ...]
    point: int

    def __init__(
        self,
        weight_bits: Sequence[int] | None = None,
        activation_bits: Sequence[int] | None = None,
        point: int = 0,
        **more: Sequence[int],
    ) -> None:
        given = {WEIGHT_BITS.name: weight_bits, ACTIVATION_BITS.name: activation_bits, **more}
        values = tuple((name, tuple(column)) for name, column in given.items() if column is not None)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "point", point)

    @property
    def per_layer(self) -> dict[str, tuple[int, ...]]:
        """Values by dimension, one a layer."""
        return dict(self.values)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.values[0][1]) if self.values else 0

    @property
    def weight_bits(self) -> tuple[int, ...]:
        """Bit-width of every layer's weights."""
        return self.per_layer[WEIGHT_BITS.name]

    @property
    def activation_bits(self) -> tuple[int, ...]:
        """Bit-width of every layer's input activations."""
        return self.per_layer[ACTIVATION_BITS.name]

    @property
    def trained(self) -> tuple[tuple[int, ...], ...]:
        """Everything that accuracy depends on: the values of the layers, but not the operating point."""
        return tuple(column for _, column in self.values)

    def but(self, *, point: int | None = None, **columns: Sequence[int]) -> Policy:
        """The policy with another operating point, or other values of some dimensions."""
        changed: dict[str, Sequence[int]] = {**self.per_layer, **columns}
        return Policy(point=self.point if point is None else point, **changed)


@dataclass(frozen=True)
class Row:
    """One choice of a policy.

    Attributes:
        where: name of the place: a layer, a block of layers, or the chip.
        layers: numbers of the layers whose values it sets; none for the chip's operating point.
        dimensions: names of what is chosen there; none for the operating point.
        choices: what each action stands for: a value of each dimension, or the number of an operating point.

    Raises:
        ValueError: if the row has no choice, or a value is out of its dimension's range.
    """

    where: str
    layers: tuple[int, ...]
    dimensions: tuple[str, ...]
    choices: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError(f"row {self.where!r} has nothing to choose from")
        for place, name in enumerate(self.dimensions):
            known, values = dimension_named(name), self.values(name)
            if any(not known.low <= value <= known.high for value in values):
                raise ValueError(
                    f"{known.title} of {self.where} must be between {known.low} and {known.high}, not "
                    f"{', '.join(map(str, sorted({choice[place] for choice in self.choices})))}"
                )

    def values(self, dimension: str) -> tuple[int, ...]:
        """Value of one dimension under each action."""
        place = self.dimensions.index(dimension)
        return tuple(choice[place] for choice in self.choices)


@dataclass(frozen=True)
class Place:
    """Where something is chosen, and from which values, before it becomes one or several rows.

    Attributes:
        name: of a layer, or of a block of layers that share their values.
        layers: their numbers.
        choices: values to choose from, by dimension.
    """

    name: str
    layers: tuple[int, ...]
    choices: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class PolicySpace:
    """All policies of a network on a chip, and how actions become a policy and back.

    A policy is a path through the rows, one action each: first the rows of the layers, input layer first, and last
    the row of the operating point (Chen 2023, chapter 2).

    Attributes:
        rows: in the order of a policy's actions; the last one is the operating point's.
        layers: number of layers of the network.
        rest: name and values, one a layer, of dimensions in which layers without a row keep another value than the
            usual one.

    Raises:
        ValueError: if a row names a layer that is not there, if two rows set the same dimension of a layer, if the
            last row, and no other, is not the operating point's, or if ``rest`` does not have one value a layer.
    """

    rows: tuple[Row, ...]
    layers: int
    rest: tuple[tuple[str, tuple[int, ...]], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"a policy space needs at least 1 layer, not {self.layers}")
        if not self.rows or [row for row in self.rows if not row.dimensions] != [self.rows[-1]]:
            raise ValueError("the last row of a policy space, and no other, must be that of the operating point")
        taken: dict[tuple[str, int], str] = {}
        for row in self.rows[:-1]:
            if not row.layers or not all(0 <= layer < self.layers for layer in row.layers):
                raise ValueError(f"row {row.where!r} must set layers in 0..{self.layers - 1}, not {row.layers}")
            for name, layer in itertools.product(row.dimensions, row.layers):
                if (name, layer) in taken:
                    raise ValueError(f"rows {taken[name, layer]!r} and {row.where!r} both set {name} of layer {layer}")
                taken[name, layer] = row.where
        for name, column in self.rest:
            if len(column) != self.layers:
                raise ValueError(f"{len(column)} {dimension_named(name).title} for {self.layers} layers")

    @classmethod
    def of_places(
        cls,
        places: Sequence[Place],
        layers: int,
        points: int,
        rest: tuple[tuple[str, tuple[int, ...]], ...] = (),
    ) -> PolicySpace:
        """A space from places: each is one row of all its dimensions together, or one row a dimension.

        A place is one row if that has no more than 16 actions. With dimensions ``d1, d2``, of which ``d1`` has
        ``n`` values, action ``k`` of such a row is value ``k % n`` of ``d1`` and value ``k // n`` of ``d2``.

        Args:
            places: in the order of the rows.
            layers: number of layers of the network.
            points: number of operating points.
            rest: values of layers without a row; default the usual ones.
        """
        if points < 1:
            raise ValueError(f"a policy space needs at least 1 operating point, not {points}")
        rows = []
        for place in places:
            names = tuple(place.choices)
            if math.prod(len(values) for values in place.choices.values()) <= MOST_ACTIONS:
                backwards = itertools.product(*(place.choices[name] for name in reversed(names)))
                rows.append(Row(place.name, place.layers, names, tuple(choice[::-1] for choice in backwards)))
            else:
                for name in names:
                    choices = tuple((value,) for value in place.choices[name])
                    rows.append(Row(place.name, place.layers, (name,), choices))
        return cls((*rows, Row("chip", (), (), tuple((point,) for point in range(points)))), layers, rest)

    @classmethod
    def of_bit_widths(
        cls,
        layers: int,
        points: int,
        weight_choices: Sequence[int] = (2, 4, 8),
        activation_choices: Sequence[int] = (8,),
    ) -> PolicySpace:
        """The published kind of space: the same bit-widths of weights and activations in every layer.

        Args:
            layers: number of layers, at least 1.
            points: number of operating points, at least 1.
            weight_choices: bit-widths of weights.
            activation_choices: bit-widths of activations; one is fixed.
        """
        choices = {WEIGHT_BITS.name: tuple(weight_choices), ACTIVATION_BITS.name: tuple(activation_choices)}
        for name, values in choices.items():
            if not values:
                raise ValueError(f"{dimension_named(name).title} need at least 1 value to choose from")
        places = [Place(f"layer{layer + 1}", (layer,), choices) for layer in range(layers)]
        return cls.of_places(places, layers, points)

    @property
    def points(self) -> int:
        """Number of operating points."""
        return len(self.rows[-1].choices)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimensions that a policy of this space has."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.dimensions))

    def choices(self, dimension: str) -> tuple[int, ...]:
        """All values that any layer may take in a dimension, in the order of the rows' choices."""
        rows = [row for row in self.rows if dimension in row.dimensions]
        return tuple(dict.fromkeys(value for row in rows for value in row.values(dimension)))

    @property
    def uniform(self) -> bool:
        """Whether every layer has one row of its own, with the same choices, as in the published space."""
        first = self.rows[0]
        return len(self.rows) == self.layers + 1 and all(
            (row.layers, row.dimensions, row.choices) == ((layer,), first.dimensions, first.choices)
            for layer, row in enumerate(self.rows[:-1])
        )

    @property
    def identity(self) -> str:
        """Text that identifies this space; for bit-widths alone, the text that earlier versions had."""
        if self.uniform and self.dimensions == (WEIGHT_BITS.name, ACTIVATION_BITS.name):
            weights, activations = (self.choices(name) for name in self.dimensions)
            return (
                f"PolicySpace(layers={self.layers}, points={self.points}, weight_choices={weights}, "
                f"activation_choices={activations})"
            )
        return repr(self) + (f" with {self.rest}" if self.rest else "")

    @property
    def action_counts(self) -> tuple[int, ...]:
        """Number of actions of every row."""
        return tuple(len(row.choices) for row in self.rows)

    @property
    def size(self) -> int:
        """Number of policies in the space."""
        return math.prod(self.action_counts)

    @property
    def strides(self) -> tuple[int, ...]:
        """Distance in a table between two policies that differ by one action in a row; the last row's is 1.

        A policy's place is the sum of its actions times these.
        """
        counts = self.action_counts
        return tuple(math.prod(counts[row + 1 :]) for row in range(len(counts)))

    def decode(self, actions: Sequence[int]) -> Policy:
        """Turn one action a row into a policy; raises ValueError for an action that its row does not have."""
        if len(actions) != len(self.rows):
            raise ValueError(f"a policy of this space has {len(self.rows)} rows, not {len(actions)}")
        values = self._without_rows()
        for number, (row, action) in enumerate(zip(self.rows, actions, strict=True)):
            if not 0 <= action < len(row.choices):
                raise ValueError(f"row {number} has actions 0..{len(row.choices) - 1}, not {action}")
            for name, value in zip(row.dimensions, row.choices[action], strict=False):
                for layer in row.layers:
                    values[name][layer] = value
        return Policy(point=self.rows[-1].choices[actions[-1]][0], **values)

    def encode(self, policy: Policy) -> tuple[int, ...]:
        """The inverse of `decode`; raises ValueError for a policy that is not of this space."""
        values = policy.per_layer
        actions = []
        for row in self.rows:
            wanted = tuple(values[name][row.layers[0]] for name in row.dimensions) or (policy.point,)
            if wanted not in row.choices:
                raise ValueError(f"row {row.where!r} has no choice {wanted}")
            actions.append(row.choices.index(wanted))
        return tuple(actions)

    def by_place(self, policy: Policy) -> dict[str, tuple[int, ...]]:
        """A policy's values by dimension, one for each row that sets it.

        Traces and summaries hold these. Layers that share a row appear once; layers without a row do not appear.
        """
        values = policy.per_layer
        return {
            name: tuple(values[name][row.layers[0]] for row in self.rows if name in row.dimensions)
            for name in self.dimensions
        }

    def spread(self, chosen: Mapping[str, Sequence[int]], point: int = 0) -> Policy:
        """The policy that `by_place` gives these values of; raises ValueError if they are not one a place."""
        values = self._without_rows()
        for name in self.dimensions:
            rows, given = [row for row in self.rows if name in row.dimensions], chosen.get(name, ())
            if len(rows) != len(given):
                raise ValueError(f"{len(given)} {dimension_named(name).title} for {len(rows)} places")
            for row, value in zip(rows, given, strict=True):
                for layer in row.layers:
                    values[name][layer] = value
        return Policy(point=point, **values)

    def place_names(self, dimension: str) -> tuple[str, ...]:
        """Names of the places of the values that `by_place` gives."""
        return tuple(row.where for row in self.rows if dimension in row.dimensions)

    def _without_rows(self) -> dict[str, list[int]]:
        """What every layer has before a row sets it."""
        rest = dict(self.rest)
        return {name: list(rest.get(name, (dimension_named(name).usual,) * self.layers)) for name in self.dimensions}
