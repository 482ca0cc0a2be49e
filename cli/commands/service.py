"""Commands for operators: start a service, look after it, save and restore it."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.markup import escape

from cli.commands.common import console, sentences
from shared.settings import Settings
from shared.store.job_store import JobStore


@click.command()
@sentences
def run() -> None:
    """Start Redis, a worker and the web server on this machine; Ctrl-C ends them all.

    PORT chooses the port (8000), PATHLIGHT_HOME the state directory (./.pathlight), REDIS_URL another Redis.
    """
    from cli.run import run as run_service

    run_service(Settings.load())


@click.command()
@click.argument("target", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@sentences
def backup(target: Path) -> None:
    """Write all that the embedded service remembers into one file; beside a running service too.

    Jobs, API keys, pictures, results and models of your own, as they are at one moment. Anyone who has the file has the
    pictures, so that only you may read it. Fetched weights are left out; pathlight models fetch brings them. Pictures
    and results in a bucket (PATHLIGHT_BLOBS) stay there.

    \b
    Try:
      pathlight backup backups/                     a new file in that folder
      PATHLIGHT_HOME=elsewhere pathlight restore backups/pathlight-20260101-120000.tar
    """
    from cli.backup import backup as write

    with console.status("backing up…") as status:
        path, contents = write(target, Settings.load(), say=status.update)
    size = path.stat().st_size / 1e6
    console.print(
        f"wrote {escape(str(path))}: {contents.jobs} jobs, {contents.blobs} files, {size:.1f} MB", soft_wrap=True
    )
    if contents.damaged:
        console.print(f"{contents.damaged} files were left out: they are damaged, and can be read by nobody")
    if contents.bucket:
        console.print(
            f"pictures and results are not in it: they stay in {escape(contents.bucket)}. "
            "Copy that bucket now, after this backup, or have it keep versions",
            soft_wrap=True,
        )


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@sentences
def restore(source: Path) -> None:
    """Put what `pathlight backup` wrote into PATHLIGHT_HOME, which has to be new or empty.

    Jobs that had ended are answered as before, those that were waiting or running run when the service starts. Times go
    on: what has passed its deadline or its retention meanwhile is ended or forgotten.
    """
    from cli.backup import restore as read

    settings = Settings.load()
    with console.status("restoring…") as status:
        contents = read(source, settings, say=status.update)
    console.print(
        f"restored {contents.jobs} jobs and {contents.blobs} files into {escape(str(settings.home))}; "
        "start the service with: pathlight run",
        soft_wrap=True,
    )
    if contents.bucket:
        console.print(
            f"pictures and results are not in it: they were in {escape(contents.bucket)}. Set PATHLIGHT_BLOBS to that "
            "bucket, or to a copy of it",
            soft_wrap=True,
        )


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and leave it.")
@click.option("--owner", metavar="NAME", help="First forget all ended jobs and batches of this API key (name or id).")
@sentences
def gc(dry_run: bool, owner: str | None) -> None:
    """Remove pictures, results and replaced models that no job names any more; beside a running service too.

    The service does so by itself every hour. A file that was stored or asked for within the last hour stays
    (PATHLIGHT_BLOB_GRACE_SECONDS): its job may be coming. With --owner jobs are forgotten before their retention has
    passed, and their files go at once; also where Redis is full and where the key has been revoked.
    """
    from cli.gc import collect_garbage, forget_owned
    from shared.blobs.blob_store import Swept

    settings, freed = Settings.load(), Swept()
    if owner is not None:
        with console.status("looking at jobs…") as status:
            jobs, freed = forget_owned(owner, settings, dry_run=dry_run, say=status.update)
        console.print(f"{'would forget' if dry_run else 'forgot'} {jobs} ended jobs of {escape(owner)}")
    swept = freed + collect_garbage(settings, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    console.print(f"{verb} {swept.files} files that no job names, {swept.bytes / 1e6:.1f} MB")


@click.command()
@sentences
def pools() -> None:
    """Show which workers are here, by pool: what they take, and what waits for them.

    A pool is made of workers with PATHLIGHT_POOL=NAME, which take the jobs of PATHLIGHT_POOL_MODELS and
    PATHLIGHT_POOL_LANES alone and hear the Celery queue drain.NAME (docs/scaling.md).
    """
    from cli.pools import print_pools

    print_pools(JobStore.connect(Settings.load()).pools.staff(), console)


@click.command()
@sentences
def doctor() -> None:
    """Check this machine and the running service, and say what to mend.

    Looks at versions, models, disk, Redis (reachable, version, append-only file, eviction, memory, clock), the workers
    and the keeper that were heard, and API keys. Each line that begins with MEND ends with the remedy. The exit status
    is 0 where nothing is to be mended, otherwise 1.
    """
    from cli.doctor import check

    sound = True
    for finding in check(Settings.load()):
        sound = sound and finding.good
        mark = "[green]ok  [/]" if finding.good else "[red]MEND[/]"
        console.print(f"{mark} {escape(finding.sentence)}", soft_wrap=True)
    sys.exit(not sound)


@click.command()
@click.option("--markdown", is_flag=True, help="Print the page of the repository, with the defaults.")
@sentences
def settings(markdown: bool) -> None:
    """Show every setting: its environment variable, its value here, and what it means."""
    from cli.settings_page import page, table

    if markdown:
        click.echo(page(), nl=False)
    else:
        console.print(table(Settings.load()))
