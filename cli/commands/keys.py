"""Commands about API keys."""

from __future__ import annotations

import click
from rich.table import Table

from cli.commands.common import console, sentences
from shared.jobs import rfc3339
from shared.settings import Settings
from shared.store.job_store import JobStore
from shared.store.keys import Scope


@click.group()
def keys() -> None:
    """API keys: who may use the service once others than this machine's people can reach it.

    \b
    Try:
      pathlight keys create laptop                 sends pictures, and looks at its own jobs
      pathlight keys create shop --scope submit    only sends
      pathlight keys revoke laptop
    """


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    default=(Scope.SUBMIT.value, Scope.READ.value),
    show_default=True,
    help="What it may do; may be given several times. admin: everything, with everybody's jobs.",
)
@sentences
def create_key(name: str, scopes: tuple[str, ...]) -> None:
    """Make a key and print it: this once, for only its hash is kept.

    It is sent as the header X-API-Key, or typed into the page's sign-in.
    """
    key, token = JobStore.connect(Settings.load()).keys.create(name, map(Scope, scopes))
    console.print(f"{key.name} may {', '.join(sorted(key.scopes))}. Keep this, it is shown only now:", soft_wrap=True)
    click.echo(token)


@keys.command("list")
@sentences
def list_keys() -> None:
    """List the keys, oldest first."""
    found = JobStore.connect(Settings.load()).keys.all()
    if not found:
        console.print("there is no key yet; make one with: pathlight keys create NAME")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "id", "may", "made"):
        table.add_column(heading)
    for key in found:
        table.add_row(key.name, key.id, ", ".join(sorted(key.scopes)), rfc3339(key.created_ms))
    console.print(table)


@keys.command("revoke")
@click.argument("name", metavar="NAME-OR-ID")
@sentences
def revoke_key(name: str) -> None:
    """End a key at once, and every session that was opened with it. Its jobs stay until their retention has passed."""
    JobStore.connect(Settings.load()).keys.revoke(name)
    console.print(f"{name} is revoked", markup=False)
