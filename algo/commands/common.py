"""What subcommands share: exit codes, options that make a unit, and how a failed check is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

FAILED, BAD_USE, INTERRUPTED = 1, 2, 130

Command = TypeVar("Command", bound=Callable[..., Any])


class CheckFailed(Exception):
    """A check came out negative; the message has been printed already."""


def unit_options(*names: str) -> Callable[[Command], Command]:
    """Options that make an `RLUParams`; without names, all of them."""
    options = {
        "states": click.option("--states", type=int, default=256, show_default=True, help="Rows, 1..256."),
        "actions": click.option("--actions", type=int, default=16, show_default=True, help="Actions, 2..16."),
        "action_counts": click.option(
            "--action-counts", metavar="N,N,...", help="Number of actions of every row; default --actions."
        ),
        "q_width": click.option("--q-width", type=int, default=16, show_default=True, help="Bits of a Q-value."),
        "q_frac": click.option("--q-frac", type=int, default=14, show_default=True, help="Fraction bits of it."),
        "coef_frac": click.option(
            "--coef-frac", type=int, default=15, show_default=True, help="Fraction bits of coefficients."
        ),
        "gain_frac": click.option(
            "--gain-frac", type=int, default=12, show_default=True, help="Fraction bits of gains."
        ),
        "lfsr_width": click.option(
            "--lfsr-width", type=int, default=16, show_default=True, help="Bits of the LFSR: 8, 16 or 32."
        ),
        "episodes": click.option(
            "--episodes", type=int, default=0, show_default=True, help="Episodes it remembers: 0, or 2, 4 ... 1024."
        ),
    }

    def decorate(command: Command) -> Command:
        for name in reversed(names or tuple(options)):
            command = options[name](command)
        return command

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def parse_counts(text: str | None) -> tuple[int, ...] | None:
    """The value of --action-counts."""
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--action-counts must be whole numbers N,N,..., not {text!r}") from None
