"""What several commands share: the console, errors as sentences, and the options of a job."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
from rich.console import Console

from shared.errors import PathlightError
from shared.jobs import LISTS, CommonOptions, WhatIfOptions, choices_of, option_fields
from shared.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

console = Console(highlight=False)
api_key = click.option(
    "--key", envvar="PATHLIGHT_API_KEY", help="API key, where the service wants one.", show_envvar=True
)
server = click.option("--server", help="Address of the service  [default: this machine, by PORT]")


def sentences(command: Callable[..., Any]) -> Callable[..., Any]:
    """Expected errors end a command with one sentence, not with a traceback."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except PathlightError as error:
            raise click.ClickException(str(error)) from error

    return wrapper


def job_options(declared: type[CommonOptions] | type[WhatIfOptions]) -> Callable[[Command], Command]:
    """Gives a command an option for each that is declared of a job. It gets them by their names."""

    def decorate(command: Command) -> Command:
        for name, option in reversed(list(option_fields(declared).items())):
            flag = f"--{name.removesuffix('s') if name in LISTS else name}"
            several = " May be given several times." if name in LISTS else ""
            choices = choices_of(option)
            command = click.option(
                flag,
                name,
                type=click.Choice(choices) if choices else None,
                multiple=name in LISTS,
                default=None if name in LISTS else option.default,
                show_default=bool(option.default),
                help=(option.description or "").replace("`", "") + several,
            )(command)
        return command

    return decorate


def address_of(server: str | None) -> str:
    """The service that is asked: the one that is named, or that of this machine."""
    settings = Settings.load()
    return server or f"http://{settings.host}:{settings.port}"
