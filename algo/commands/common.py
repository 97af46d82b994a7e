"""What subcommands share: exit codes, options that make a unit, and how a failed check is reported."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

import click

from algo.support.settings import flat, settings_of, whole_numbers
from rtl.spec.buses import BUSES
from rtl.spec.params import RLUParams

FAILED, BAD_USE, INTERRUPTED = 1, 2, 130

Command = TypeVar("Command", bound=Callable[..., Any])


class CheckFailed(Exception):
    """A check failed; its message is printed already."""


_UNIT_HELP = {
    "states": "Rows, 1..256.",
    "actions": "Actions, 2..16.",
    "action_counts": "Number of actions of every row; default --actions.",
    "q_width": "Bits of a Q-value.",
    "q_frac": "Fraction bits of a Q-value.",
    "coef_frac": "Fraction bits of coefficients.",
    "gain_frac": "Fraction bits of gains.",
    "lfsr_width": "Bits of the LFSR: 8, 16 or 32.",
    "episodes": "Episodes to remember: 0, or 2, 4 ... 1024.",
    "points": "Operating points with known costs, 0..16: with 1 and more the unit can plan. Needs --episodes.",
}


def unit_options(command: Command) -> Command:
    """Options that make an `RLUParams`, with its defaults."""
    for name, text in reversed(_UNIT_HELP.items()):
        more: dict[str, Any] = {"type": int, "default": getattr(RLUParams, name), "show_default": True}
        if name == "action_counts":
            more = {"metavar": "N,N,..."}
        command = click.option(f"--{name.replace('_', '-')}", help=text, **more)(command)
    return command


def bus_option(of: str = "") -> Callable[[Command], Command]:
    """Option --bus; its help is ``of`` and the names of the buses."""
    text = f"{of}{', '.join(BUSES[:-1])} or {BUSES[-1]}."
    return click.option("--bus", default=BUSES[0], show_default=True, help=text)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def options_of(
    config: type, *, without: Collection[str] = (), only: Sequence[str] = ()
) -> Callable[[Command], Command]:
    """Options for the settings of a configuration, each by the setting's own name; see `algo.support.settings`.

    Args:
        config: the class of the configuration.
        without: names of settings that get no option.
        only: names of the settings that get one, in this order; default all, in their own.
    """

    def decorate(command: Command) -> Command:
        found = {one.name: one for one in settings_of(config)}
        for one in reversed([found[name] for name in only or found]):
            if not one.help or one.name in without:
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
        return None if text is None else whole_numbers(text)
    except ValueError:
        raise ValueError(f"--action-counts must be whole numbers N,N,..., not {text!r}") from None


def given_of(context: click.Context, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the command line names."""
    default = click.core.ParameterSource.DEFAULT
    return {name: value for name, value in settings.items() if context.get_parameter_source(name) is not default}


def differences(kept: object, config: object, given: Collection[str]) -> list[str]:
    """What settings of a kept configuration are, and not what those that are given now say."""
    mine, theirs = flat(kept), flat(config)
    return [
        f"{'no ' + name if mine[name] is None else f'{name} {mine[name]}'}, not {theirs[name]}"
        for name in given
        if mine[name] != theirs[name]
    ]
