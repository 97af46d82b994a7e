"""The figures of a report, as SVG coloured by the page's style sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from markupsafe import Markup

from algo.published.scores import published_outliers, published_scores
from algo.report.facts import Deployment, RunFacts, kind_of, known
from algo.report.svg import Chart, Svg, span, ticks
from algo.search.step import Step
from algo.space.dimensions import ACTIVATION_BITS, DIMENSIONS, WEIGHT_BITS, Dimension
from algo.support.figures import shown_cost

#: Mark of every kind of iteration (see `report_data.KINDS`).
SHAPES = {"scored": "dot", "inaccurate": "cross", "skipped": "cross"}
#: Mark of every deployment.
DEPLOYED = {"INT8": "square", "found": "diamond", "best seen": "diamond"}


def learning_curve(run: RunFacts) -> Markup:
    """Score of every iteration, best so far, epsilon, and the published scores for the same weights."""
    last, best = len(run.steps) - 1, run.best_so_far
    chart = Chart(
        f"Learning curve of {run.label}",
        f"{last + 1} iterations; the best score is {best[-1]:.3f}, first reached at iteration "
        f"{best.index(best[-1])}; {run.count('inaccurate') + run.count('skipped')} policies were rewarded 0.",
        x=(0, max(run.planned - 1, 1)), y=(0, 1), x_label="iteration", y_label="score",
    )  # fmt: skip
    explored = [(step.iteration, step.epsilon) for step in run.steps if step.epsilon is not None]
    if explored:
        chart.steps(explored, "epsilon")
    for step in run.steps:
        chart.mark(step.iteration, step.reward, SHAPES[kind_of(step)], f"k-{kind_of(step)}")
    chart.steps(list(enumerate(best)), "best")
    beyond = None
    for published in published_scores(run.weights):
        if published.iteration is not None and published.iteration < run.planned:
            chart.mark(published.iteration, published.score, "diamond", "published", published.text)
            continue
        chart.horizontal(published.score, "level")
        if published.iteration is None:
            chart.note(0, published.score, f"published RL {published.score:.3f}", "note hang", lift=-6)
        elif beyond is None or published.score > beyond.score:
            beyond = published
    if beyond is not None:  # levels may be close together: only the highest gets a label, on the right
        text = f"{beyond.name} {beyond.score:.3f} at {beyond.iteration} \N{RIGHTWARDS ARROW}"
        chart.note(run.planned - 1, beyond.score, text, "note end", lift=5)
    return chart.render()


def best_so_far(runs: Sequence[RunFacts]) -> Markup:
    """Best score so far of several runs."""
    chart = Chart(
        "Best score so far",
        "; ".join(f"{run.label} reaches {run.best_so_far[-1]:.3f}" for run in runs),
        x=(0, max(max(run.planned for run in runs) - 1, 1)), y=(0, 1), x_label="iteration", y_label="best score so far",
    )  # fmt: skip
    for number, run in enumerate(runs):
        chart.steps(list(enumerate(run.best_so_far)), f"run run{number % 6}")
    return chart.render()


def visited(run: RunFacts, what: Dimension) -> Markup:
    """Value of a dimension in every layer and iteration."""
    names, columns = run.chip.place_names, len(run.steps)
    left, top, row, width = 66.0, 4.0, max(9.0, min(24.0, 420 / len(names))), 560.0
    picture = Svg(
        f"{what.heading} that {run.label} tried",
        f"A row per layer, {names[0]} to {names[-1]}; a column per iteration, 0 to {columns - 1}; coloured by value.",
        640, top + row * len(names) + 52,
    )  # fmt: skip
    column = width / run.planned
    cells: dict[int, list[str]] = {}
    for layer in range(len(names)):
        start = 0
        for number in range(1, columns + 1):  # neighbours of one bit-width become one rectangle
            bits = run.steps[start].chosen[what.name][layer]
            if number < columns and run.steps[number].chosen[what.name][layer] == bits:
                continue
            x, y, w = left + start * column, top + layer * row, (number - start) * column
            cells.setdefault(bits, []).append(f"M{x:.1f} {y:.1f}h{w:.1f}v{row - 1:.1f}h-{w:.1f}z")
            start = number
    for bits, paths in sorted(cells.items()):
        picture.add("path", d="".join(paths), class_=f"bits b{bits}")
    bottom = top + row * len(names)
    for layer, name in enumerate(names):
        if row >= 18 or layer % 2 == 0:
            picture.add("text", name, x=left - 6, y=top + (layer + 0.5) * row, class_="tick ty")
    for value in ticks(0, run.planned - 1):
        picture.add("text", f"{value:g}", x=left + (value + 0.5) * column, y=bottom + 5, class_="tick tx")
    picture.add("text", "iteration", x=left + width / 2, y=bottom + 46, class_="name nx")
    return picture.render()


Read = Callable[[Step | Deployment], float | None]
_LATENCY: tuple[str, Read] = ("latency (ms)", lambda it: it.latency_ms)
_ENERGY: tuple[str, Read] = ("energy (µJ)", lambda it: None if it.energy_uj is None else known(it.energy_uj))
_ACCURACY: tuple[str, Read] = ("accuracy", lambda it: it.accuracy)


def scatters(run: RunFacts) -> list[Markup]:
    """Visited policies: accuracy over latency and over energy, energy over latency; without energies only the first."""
    if not run.knows_energy:
        return [_scatter(run, _LATENCY, _ACCURACY)]
    return [_scatter(run, *pair) for pair in ((_LATENCY, _ACCURACY), (_ENERGY, _ACCURACY), (_LATENCY, _ENERGY))]


def _scatter(run: RunFacts, across: tuple[str, Read], up: tuple[str, Read]) -> Markup:
    (x_label, read_x), (y_label, read_y) = across, up
    everything: list[Step | Deployment] = [*run.steps, *run.deployments]
    x = span(value for item in everything if (value := read_x(item)) is not None)
    y = span([value for item in everything if (value := read_y(item)) is not None] or [0.0, 1.0])
    chart = Chart(
        f"{y_label.split(' (')[0].capitalize()} over {x_label.split(' (')[0]}, {run.label}",
        f"{len(run.steps)} visited policies, {len(run.front)} of them on the Pareto front, and "
        f"{', '.join(item.label for item in run.deployments)}.",
        x=x, y=y, x_label=x_label, y_label=y_label, width=400, height=350, left=58, kind="chart small",
    )  # fmt: skip
    config = run.config
    thresholds = {"latency (ms)": config.get("latency_th_ms"), "energy (µJ)": config.get("energy_th_uj")}
    thresholds["accuracy"] = run.accuracy_th
    if (limit := thresholds[x_label]) is not None and x[0] < limit < x[1]:
        chart.vertical(limit, "limit")
    if (limit := thresholds[y_label]) is not None and y[0] < limit < y[1]:
        chart.horizontal(limit, "limit")
    front = {step.iteration for step in run.front}
    # Steps on the front are drawn last, so nothing hides them.
    for step in sorted(run.steps, key=lambda step: step.iteration in front):
        kind, height = kind_of(step), read_y(step)
        on_front = step.iteration in front
        chart.mark(
            read_x(step) or 0.0, y[0] if height is None else height, SHAPES[kind],
            f"k-{kind}{' front' if on_front else ''}", _tip(step), data_i=step.iteration,
        )  # fmt: skip
    for item in run.deployments:
        tip = f"{item.label}: accuracy {item.accuracy:.3f}, {shown_cost(item.latency_ms)} ms{_energy(item)}"
        chart.mark(
            read_x(item) or 0.0, read_y(item) or 0.0, DEPLOYED[item.name], f"d-{item.name.split()[0].lower()}", tip
        )
    return chart.render()


def _tip(step: Step) -> str:
    accuracy = "not trained" if step.accuracy is None else f"accuracy {step.accuracy:.3f}"
    chosen = ", ".join(
        f"{DIMENSIONS[name].title} {' '.join(map(str, values))}"
        for name, values in step.chosen.items()
        if name == WEIGHT_BITS.name or set(values) != {DIMENSIONS[name].usual}
    )
    return (
        f"iteration {step.iteration}: {chosen}, {_point(step)}: "
        f"{accuracy}, {shown_cost(step.latency_ms)} ms{_energy(step)}, score {step.reward:.3f}"
    )


def _energy(item: Step | Deployment) -> str:
    energy = _ENERGY[1](item)
    return "" if energy is None else f", {shown_cost(energy)} µJ"


def _point(item: Step | Deployment) -> str:
    volts, megahertz = (None if one is None else known(one) for one in (item.voltage_v, item.frequency_mhz))
    words = ["unknown V" if volts is None else f"{volts:.2f} V", "" if megahertz is None else f"{megahertz:g} MHz"]
    return ", ".join(filter(None, words))


def outcomes(run: RunFacts) -> Markup:
    """Running counts of outliers skipped and policies too inaccurate, beside the published count."""
    series = {kind: _counted(run.steps, kind) for kind in ("skipped", "inaccurate")}
    reference = published_outliers(run.weights)
    most = max([1, *(values[-1] for values in series.values()), *([reference[1]] if reference else [])])
    chart = Chart(
        f"Policies rewarded 0 in {run.label}",
        f"{series['skipped'][-1]} were skipped before training, {series['inaccurate'][-1]} were trained and missed "
        "the accuracy threshold.",
        x=(0, max(run.planned, reference[0] if reference else 0)), y=(0, most * 1.08), x_label="iteration",
        y_label="policies so far", height=320,
    )  # fmt: skip
    for kind, values in series.items():
        chart.steps([(0, 0), *((number + 1, value) for number, value in enumerate(values))], f"count-{kind}")
    if reference:
        tip = f"published: {reference[1]} of {reference[0]} skipped"
        chart.mark(*reference, "diamond", "published", tip)
        chart.note(reference[0] * 0.97, reference[1], tip, "note end middle")
    return chart.render()


def _counted(steps: Sequence[Step], kind: str) -> list[int]:
    counts, total = [], 0
    for step in steps:
        total += kind_of(step) == kind
        counts.append(total)
    return counts


def frame_iterations(steps: Sequence[Step], most: int = 16) -> list[int]:
    """At most ``most`` iterations to show the Q-table after: the last of every epsilon, every 30th of long ones."""
    frames, since = [], 0
    for number, step in enumerate(steps):
        since += 1
        if number + 1 == len(steps) or steps[number + 1].epsilon != step.epsilon or since == 30:
            frames.append(number)
            since = 0
    stride = -(-len(frames) // most)
    return frames[::-1][::stride][::-1]  # always with the last one


def q_frames(run: RunFacts) -> list[tuple[str, Markup]]:
    """Caption and heat map of the Q-table after some of the iterations."""
    tables, unit = run.q_history.tables, 2.0**-run.q_history.q_frac
    if not tables:
        return []
    steps = run.steps[: len(tables)]
    names = row_names(run)
    # A row's values grow with the rows that follow it: each row is coloured on its own scale.
    greatest = [max(max(table[row]) for table in tables) or 1 for row in range(len(names))]
    meaning = meanings(run)
    frames = []
    for number in frame_iterations(steps):
        greedy = [values.index(max(values)) for values in tables[number]]
        chosen = (f"{name} {meaning.get((row, greedy[row]), 'never tried')}" for row, name in enumerate(names))
        tops = list(accumulate((_row_height(len(values)) for values in tables[number]), initial=4.0))
        picture = Svg(
            f"Q-table of {run.label} after iteration {number}",
            f"The greedy choice of every row: {', '.join(chosen)}.",
            300, tops[-1] + 4, "heat",
        )  # fmt: skip
        for row, values in enumerate(tables[number]):
            y, height, width = tops[row], _row_height(len(values)) - 2, 246 / len(values)
            picture.add("text", names[row], x=44, y=y + height / 2, class_="tick ty")
            for action, value in enumerate(values):
                share = max(0.0, value / greatest[row])
                said = meaning.get((row, action), f"action {action}, never tried")
                x, middle = 50 + action * width, 50 + (action + 0.5) * width
                picture.add_titled(
                    "rect", f"{names[row]}, {said}: {value * unit:.4f}", x=x, y=y, width=width - 1, height=height,
                    fill_opacity=f"{share:.2f}", class_="q greedy" if action == greedy[row] else "q",
                )  # fmt: skip
                tone = "qv strong" if share > 0.55 else "qv"
                short = said.split()[0] if (row, action) in meaning else ""
                if width >= 60:
                    picture.add("text", f"{short}: {value * unit:.3f}", x=middle, y=y + height / 2, class_=tone)
                elif width > 24:
                    picture.add("text", short, x=middle, y=y + height / 2 - 6, class_=tone)
                    picture.add("text", f"{value * unit:.2f}", x=middle, y=y + height / 2 + 6, class_=tone)
        caption = f"after iteration {number}, \N{GREEK SMALL LETTER EPSILON} = {steps[number].epsilon:g}"
        frames.append((caption, picture.render()))
    return frames


def _row_height(actions: int) -> float:
    """Cells of a row with many actions are narrow, so they hold two lines instead of one."""
    return 20.0 if 246 / actions >= 60 else 28.0


def row_names(run: RunFacts) -> list[str]:
    """What the pictures call the rows of a policy: the places, and the operating point's last."""
    rows = len(run.steps[0].actions) - 1
    places = run.chip.place_names
    return [*(places if len(places) == rows else [f"row {row + 1}" for row in range(rows)]), "V"]


def meanings(run: RunFacts) -> dict[tuple[int, int], str]:
    """What an action of a row stands for, as far as the run tried or deployed it: values, or an operating point."""
    found: dict[tuple[int, int], str] = {}
    names = [dimension.name for dimension in run.searched]
    met: list[tuple[tuple[int, ...], Step | Deployment]] = [(step.actions, step) for step in run.steps]
    if run.effects and run.effects.deployed and run.savings:
        met.append((run.effects.deployed.actions, run.savings.found))
    for actions, item in met:
        rows = len(actions) - 1
        for row, action in enumerate(actions[:-1]):
            if all(len(item.chosen[name]) == rows for name in names):  # a row is a place
                unit = " bit" if all(name in (WEIGHT_BITS.name, ACTIVATION_BITS.name) for name in names) else ""
                found[row, action] = "/".join(str(item.chosen[name][row]) for name in names) + unit
            else:
                found[row, action] = f"action {action}"
        found[rows, actions[-1]] = _point(item)
    return found
