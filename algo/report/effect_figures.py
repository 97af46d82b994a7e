"""The figures about what a planning unit learned: effects on accuracy over time, and how well they predict."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from markupsafe import Markup

from algo.report.facts import RunFacts
from algo.report.figures import meanings, row_names
from algo.report.svg import Chart, Svg, span
from algo.runs.effect_replay import EffectHistory

Meanings = dict[tuple[int, int], str]

#: Width of all cells of a row, in the picture's units.
_ROOM = 246.0


class Prediction(NamedTuple):
    """What the unit expected of a policy, and what was measured: fractions."""

    iteration: int
    predicted: float
    measured: float


def predictions(run: RunFacts) -> list[Prediction]:
    """Predicted and measured accuracy of every policy that has both."""
    if run.effects is None:
        return []
    pairs = zip(run.steps, run.effects.predicted, strict=False)
    return [
        Prediction(step.iteration, expected, step.accuracy)
        for step, expected in pairs
        if expected is not None and step.accuracy is not None
    ]


def losses(history: EffectHistory, number: int) -> list[list[float | None]]:
    """Accuracy that each choice gives, as a fraction, relative to the best that was tried in its row.

    Args:
        history: of the effects.
        number: of the iteration, in the history.

    Returns:
        A list for each row but the operating points'; 0 or less for each choice, ``None`` for one not tried so far.
    """
    found = []
    for effects, trials in list(zip(history.tables[number], history.trials[number], strict=True))[:-1]:
        best = max((effect for effect, count in zip(effects, trials, strict=True) if count), default=0)
        relative = [(effect - best) * history.unit for effect in effects]
        found.append([one if count else None for one, count in zip(relative, trials, strict=True)])
    return found


def frame_numbers(iterations: int, most: int = 16) -> list[int]:
    """At most ``most`` iterations to show the effects after, at equal distances, with the last one."""
    return list(range(iterations))[::-1][:: -(-iterations // most)][::-1]


def effect_frames(run: RunFacts) -> list[tuple[str, Markup]]:
    """Caption and heat map of the effects after some of the iterations."""
    history = run.effects
    if history is None or not history.tables:
        return []
    meaning = meanings(run)
    shown = {number: losses(history, number) for number in frame_numbers(len(history.tables))}
    # One scale for all rows and pictures, so a reader sees in which layers a choice costs most.
    greatest = max(-(one or 0.0) for table in shown.values() for row in table for one in row) or 1.0
    last = len(history.tables) - 1
    frames = []
    for number, table in shown.items():
        deployed = history.deployed.actions if history.deployed and number == last else None
        caption = f"after iteration {number}"
        if deployed is not None:
            caption += f"; framed: the policy deployed, {_in_words(meaning, deployed)}"
        frames.append((caption, _heat(run, history, number, table, greatest, meaning, deployed)))
    return frames


def _heat(
    run: RunFacts,
    history: EffectHistory,
    number: int,
    table: list[list[float | None]],
    greatest: float,
    meaning: Meanings,
    deployed: tuple[int, ...] | None,
) -> Markup:
    names = row_names(run)
    best = (
        f"{name} {meaning[row, values.index(0.0)]}"
        for row, (name, values) in enumerate(zip(names, table, strict=False))
        if 0.0 in values
    )
    chosen = f" The policy deployed: {_in_words(meaning, deployed)}." if deployed is not None else ""
    tops = list(accumulate((_row_height(len(values)) for values in table), initial=4.0))
    picture = Svg(
        f"Effects on accuracy of {run.label} after iteration {number}",
        f"The best choice tried in every row: {', '.join(best)}.{chosen}",
        300, tops[-1] + 4, "heat",
    )  # fmt: skip
    for row, values in enumerate(table):
        y, height, width = tops[row], _row_height(len(values)) - 2, _ROOM / len(values)
        picture.add("text", names[row], x=44, y=y + height / 2, class_="tick ty")
        for action, value in enumerate(values):
            count = history.trials[number][row][action]
            said = meaning.get((row, action), f"action {action}")
            told = "untried" if value is None else f"{_signed(value)}, tried {count}\N{MULTIPLICATION SIGN}"
            share = 0.0 if value is None else abs(value) / greatest
            kind = "loss untried" if value is None else "loss"
            x, middle = 50 + action * width, 50 + (action + 0.5) * width
            picture.add_titled(
                "rect", f"{names[row]}, {said}: {told}", x=x, y=y, width=width - 1, height=height,
                fill_opacity=f"{share:.2f}",
                class_=f"{kind} greedy" if deployed is not None and deployed[row] == action else kind,
            )  # fmt: skip
            lines = _lines(said if (row, action) in meaning else "", value, count, width)
            for line, text in enumerate(lines):
                picture.add(
                    "text", text, x=middle, y=y + height / 2 + 11 * (line - (len(lines) - 1) / 2),
                    class_=f"qv{' thin' if width < 32 else ''}{' strong' if share > 0.8 else ''}",
                )  # fmt: skip
    return picture.render()


def _lines(said: str, value: float | None, count: int, width: float) -> list[str]:
    """What a cell says, as far as there is room for it."""
    times = f"{count}\N{MULTIPLICATION SIGN}"
    short = said.split()[0] if said else ""
    if width >= 60:
        return [*filter(None, [said]), "untried"] if value is None else [said, f"{_signed(value)} ({times})"]
    if width > 24:
        return [*filter(None, [short]), "–"] if value is None else [short, _signed(value).replace("0.", ".", 1), times]
    return []


def _row_height(actions: int) -> float:
    """Cells of a row with many actions are narrow, so they hold three lines instead of two."""
    return 28.0 if _ROOM / actions >= 60 else 40.0


def _signed(value: float) -> str:
    """A loss with three decimals; 0 for the best choice."""
    return "0" if value == 0 else f"\N{MINUS SIGN}{-value:.3f}"


def _in_words(meaning: Meanings, actions: tuple[int, ...]) -> str:
    """A policy's choices, row after row, and its operating point."""
    *layers, point = [meaning.get((row, action), f"action {action}") for row, action in enumerate(actions)]
    if all(said.endswith(" bit") for said in layers):
        return f"{' '.join(said.removesuffix(' bit') for said in layers)} bit at {point}"
    return f"{', '.join(layers)} at {point}"


def prediction_chart(run: RunFacts) -> Markup | None:
    """Predicted against measured accuracy of every iteration; ``None`` without any."""
    pairs = predictions(run)
    if not pairs:
        return None
    values = [value for pair in pairs for value in pair[1:]]
    limit = run.accuracy_th
    low, high = span(values if limit is None else [*values, limit])
    chart = Chart(
        f"Predicted and measured accuracy, {run.label}",
        f"{mean_error(pairs):.3f} apart on average, over {len(pairs)} policies.",
        x=(0, max(run.planned - 1, 1)), y=(low, high), x_label="iteration", y_label="accuracy", height=320,
    )  # fmt: skip
    if limit is not None:
        chart.horizontal(limit, "limit")
    for pair in pairs:
        x = chart.at_x(pair.iteration)
        chart.add("line", x1=x, x2=x, y1=chart.at_y(pair.predicted), y2=chart.at_y(pair.measured), class_="apart")
        tip = f"iteration {pair.iteration}: predicted {pair.predicted:.3f}, measured {pair.measured:.3f}"
        chart.mark(pair.iteration, pair.measured, "dot", "measured", tip)
        chart.mark(pair.iteration, pair.predicted, "dot", "predicted", tip)
    return chart.render()


def mean_error(pairs: list[Prediction]) -> float:
    """Mean distance of predicted and measured accuracy, a fraction; 0 without any."""
    return sum(abs(pair.predicted - pair.measured) for pair in pairs) / max(1, len(pairs))
