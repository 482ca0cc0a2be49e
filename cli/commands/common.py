"""What several commands share: the console, errors as sentences, and the options of a job."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
from rich.console import Console

from shared.errors import PathlightError
from shared.jobs import LISTS, CommonOptions, JobOptions, choices_of, option_fields, singular
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


def job_option(name: str) -> Callable[[Command], Command]:
    """Gives a command an option as it is declared of jobs."""
    option = option_fields(JobOptions)[name]
    choices = choices_of(option)
    several = " May be given several times." if name in LISTS else ""
    return click.option(
        f"--{singular(name)}",
        name,
        type=click.Choice(choices) if choices else None,
        multiple=name in LISTS,
        default=None if name in LISTS else option.default,
        show_default=bool(option.default),
        help=(option.description or "").replace("`", "") + several,
    )


def job_options(command: Command) -> Command:
    """Gives a command all options that batches have too. It gets them by their names."""
    for name in reversed(option_fields(CommonOptions)):
        command = job_option(name)(command)
    return command


def address_of(server: str | None) -> str:
    """The service that is asked: the one that is named, or that of this machine."""
    settings = Settings.load()
    return server or f"http://{settings.host}:{settings.port}"
