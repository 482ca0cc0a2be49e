"""The `pathlight` command."""

from __future__ import annotations

from typing import Any

import click

from cli.commands import answers, bundles, keys, models, service
from shared.distribution import remedy


class Commands(click.Group):
    """Each command imports what it needs when it is called; what this environment lacks ends it with the remedy."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if (command := remedy(error.name or "")) is None:
                raise
            raise click.ClickException(f"{error.name} is not installed; run: {command}") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Explain what an image classifier does: which pixels, and by which decisions.

    \b
    Try:
      pathlight explain photo.jpg            explain one picture here and now
      pathlight run                          start the service and its page
      pathlight submit photo.jpg --wait      ask the running service
      pathlight bulk photos/ --out result    explain a whole folder, and report on it
    """


for command in (
    *(service.run, answers.explain, answers.submit, answers.bulk, answers.status, bundles.verify),
    *(models.models, models.tree, models.train_tree, keys.keys),
    *(service.backup, service.restore, service.gc, service.pools, service.doctor, service.settings),
):
    main.add_command(command)
