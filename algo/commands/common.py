"""What subcommands share: exit codes, options that make a unit, and how a failed check is reported."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

import click

from algo.support.settings import settings_of
from rtl.spec.buses import BUSES

FAILED, BAD_USE, INTERRUPTED = 1, 2, 130

Command = TypeVar("Command", bound=Callable[..., Any])


class CheckFailed(Exception):
    """A check failed; its message is printed already."""


def unit_options(*names: str) -> Callable[[Command], Command]:
    """Options that make an `RLUParams`; without names, all of them."""
    options = {
        "states": click.option("--states", type=int, default=256, show_default=True, help="Rows, 1..256."),
        "actions": click.option("--actions", type=int, default=16, show_default=True, help="Actions, 2..16."),
        "action_counts": click.option(
            "--action-counts", metavar="N,N,...", help="Number of actions of every row; default --actions."
        ),
        "q_width": click.option("--q-width", type=int, default=16, show_default=True, help="Bits of a Q-value."),
        "q_frac": click.option("--q-frac", type=int, default=14, show_default=True, help="Fraction bits of a Q-value."),
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
            "--episodes", type=int, default=0, show_default=True, help="Episodes to remember: 0, or 2, 4 ... 1024."
        ),
    }

    def decorate(command: Command) -> Command:
        for name in reversed(names or tuple(options)):
            command = options[name](command)
        return command

    return decorate


def bus_option(of: str = "") -> Callable[[Command], Command]:
    """Option --bus; its help is ``of`` and the names of the buses."""
    text = f"{of}{', '.join(BUSES[:-1])} or {BUSES[-1]}."
    return click.option("--bus", default=BUSES[0], show_default=True, help=text)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def options_of(
    config: type, *, without: Collection[str] = (), only: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Options for the settings of a configuration, each by the setting's own name; see `algo.support.settings`.

    Args:
        config: the class of the configuration.
        without: names of settings that get no option.
        only: names of the settings that get one; default all.
    """

    def decorate(command: Command) -> Command:
        for one in reversed(list(settings_of(config))):
            if not one.help or one.name in without or (only and one.name not in only):
                continue
            kinds = [kind for kind in (get_args(one.hint) or (one.hint,)) if kind is not NoneType]
            more: dict[str, Any] = {"help": one.help, "default": one.default}
            if kinds == [bool]:
                more["is_flag"] = True
            else:
                more["show_default"] = one.default is not None
                if one.metavar:
                    more["metavar"] = one.metavar
                if one.choices and not one.metavar and all(isinstance(choice, str) for choice in one.choices):
                    more["type"] = click.Choice([str(choice) for choice in one.choices])
                else:
                    more["type"] = next(kind for kind in (int, float, str) if kind in kinds)
            command = click.option(one.flag, one.name, **more)(command)
        return command

    return decorate


def worker_options(command: Command) -> Command:
    """Options of work that is spread over cores or machines and can be resumed: --jobs, --ray, --folder."""
    for option in reversed(
        (
            click.option("--jobs", type=int, help="Processes; default one per core."),
            click.option("--ray", metavar="ADDRESS|local", help="Run on a Ray cluster, or on Ray on this machine."),
            click.option(
                "--folder", type=click.Path(path_type=Path), help="Keep finished parts here, and resume from them."
            ),
        )
    ):
        command = option(command)
    return command


def parse_counts(text: str | None) -> tuple[int, ...] | None:
    """The value of --action-counts."""
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--action-counts must be whole numbers N,N,..., not {text!r}") from None
