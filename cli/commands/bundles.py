"""The command that checks bundles."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.markup import escape

from cli.commands.common import console
from shared.errors import InvalidBundle, PathlightError
from shared.settings import Settings


@click.command()
@click.argument("bundle", metavar="BUNDLE.zip", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--recompute", is_flag=True, help="Explain the picture again, and compare predictions and maps.")
@click.option(
    "--picture",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The picture as it was uploaded, for --recompute.  [default: the one that this installation keeps]",
)
def verify(bundle: Path, recompute: bool, picture: Path | None) -> None:
    """Check a bundle (GET /api/v1/jobs/ID/bundle.zip): its files, its signature and, if asked, its answer.

    The files have to be those of manifest.json, no more and no fewer, each with its SHA-256. Where
    PATHLIGHT_SIGNING_KEY is set, manifest.sig has to be made with it. With --recompute this machine explains the
    picture again, with the options and the weights that job.json states.

    Exit status: 0 all of it holds, 1 something does not, 2 it could not be asked.

    \b
    Try:
      pathlight verify pathlight-ID.zip
      PATHLIGHT_SIGNING_KEY=... pathlight verify pathlight-ID.zip
      pathlight verify pathlight-ID.zip --recompute --picture photo.jpg
    """
    from cli import verify as checks

    def say(sentence: str) -> None:
        console.print(f"[green]ok  [/] {escape(sentence)}", soft_wrap=True)

    try:
        settings = Settings.load()
        claims = checks.verify(bundle, settings, say=say)
        if recompute:
            with console.status("explaining again…"):
                checks.recompute(bundle, claims, settings, picture=picture, say=say)
    except InvalidBundle as error:
        console.print(f"[red]FALSE[/] {escape(f'{bundle.name}: {error}')}", soft_wrap=True)
        sys.exit(1)
    except PathlightError as error:
        console.print(f"[red]?   [/] {escape(f'{bundle.name} could not be checked: {error}')}", soft_wrap=True)
        sys.exit(2)
    console.print(f"{escape(bundle.name)} is verified", soft_wrap=True)
