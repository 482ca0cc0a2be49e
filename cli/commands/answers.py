"""Commands that answer: one image here and now, images by the service, and many together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cli.commands.common import address_of, api_key, console, job_option, job_options, sentences, server
from shared.jobs import JobOptions
from shared.language import ENGLISH, LANGUAGES
from shared.options import validated
from shared.settings import Settings


@click.command()
@click.argument("source", metavar="FILE-OR-URL")
@job_options
@click.option(
    "--mask",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What if: a PNG of the picture's size, white where the picture is to be hidden.",
)
@job_option("fill")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write maps and pictures here.")
@sentences
def explain(source: str, mask: Path | None, out: Path | None, **asked: Any) -> None:
    """Explain one picture in this process, without Redis or a server.

    Prints each model's prediction, its five best classes and the decisions of its tree. With --out it writes
    heatmap.png, overlay.png, cam.npy and explanation.json for the first model, and the same in DIR/MODEL for others;
    the files of a second --method bear its name.
    """
    from cli.explain import explain_source, print_answer, write_result

    settings = Settings.load()
    options = validated(JobOptions, asked | {"models": asked["models"] or settings.default_models})
    with console.status("loading…") as status:  # shows nothing where nobody watches
        picture, result = explain_source(
            source,
            options,
            settings,
            mask=mask,
            progress=lambda stage, done, total: status.update(f"{stage} {done}/{total}"),
        )
    print_answer(result.answer, console)
    if out is not None:
        written = write_result(result, picture, out)
        console.print(f"\nwrote {written} files to {out}")


class _Picture(click.Path):
    """A file. An address is refused with a hint to the option for addresses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).startswith(("http://", "https://")):
            self.fail(f"{value} is an address; give it as --image-url {value}", param, ctx)
        return super().convert(value, param, ctx)


@click.command()
@click.argument("files", nargs=-1, type=_Picture(path_type=Path))
@click.option(
    "--image-url",
    "addresses",
    metavar="URL",
    multiple=True,
    help="A picture's address, which the service fetches where its operator lets it (PATHLIGHT_IMAGE_URL=1); may be "
    "given several times.",
)
@server
@api_key
@job_options
@click.option(
    "--webhook",
    metavar="URL",
    help="The address to which the service posts each job once it has ended, well or not, where its operator lets it "
    "(PATHLIGHT_WEBHOOK_SECRET).",
)
@click.option("--wait", is_flag=True, help="Wait for every job and print its answer.")
@sentences
def submit(
    files: tuple[Path, ...],
    addresses: tuple[str, ...],
    server: str | None,
    key: str | None,
    webhook: str | None,
    wait: bool,
    **asked: Any,
) -> None:
    """Submit pictures to a running service; prints each job's id and page.

    A picture is a file of this machine, which is sent, or an address, which the service fetches. Without --wait the
    command ends at once: look at the page, ask with pathlight status ID, or have the service tell a --webhook. One
    picture that is refused does not hold up the others.

    Exit status: 0 all were accepted and, with --wait, answered; 1 otherwise.

    \b
    Try:
      pathlight submit photo.jpg --wait
      pathlight submit --image-url https://example.org/photo.jpg
      pathlight submit photos/*.jpg --webhook https://example.org/hook
    """
    from cli.remote import service
    from cli.submit import submit_pictures

    pictures: list[Path | str] = [*files, *addresses]
    if not pictures:
        raise click.UsageError("give a picture: a file, or an address with --image-url URL")
    with service(address_of(server), api_key=key) as pathlight:
        well = submit_pictures(pathlight, pictures, wait=wait, console=console, webhook=webhook, **asked)
    sys.exit(not well)


@click.command()
@click.argument("source", metavar="FOLDER|GLOB|ARCHIVE|MANIFEST.csv")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Write everything here.")
@click.option("--local", is_flag=True, help="Work in this process, on all cores, without a service.")
@server
@api_key
@job_options
@click.option(
    "--artifacts",
    type=click.Choice(("none", "raw", "overlay", "all")),
    default="none",
    show_default=True,
    help="Files to write for each picture.",
)
@click.option("--labels-from-folders", "folder_labels", is_flag=True, help="A picture's folder names its true class.")
@click.option("--retry", is_flag=True, help="Run again what failed, but for pictures that cannot be decoded.")
@click.option(
    "--language", type=click.Choice(tuple(LANGUAGES)), default=ENGLISH, show_default=True, help="The report's."
)
@sentences
def bulk(
    source: str,
    out: Path,
    local: bool,
    server: str | None,
    key: str | None,
    artifacts: str,
    folder_labels: bool,
    retry: bool,
    language: str,
    **options: Any,
) -> None:
    """Explain many pictures, and report on them together.

    SOURCE is a folder, a pattern in quotes, a .zip, .tar or .tar.gz archive, or a CSV file with the columns path and,
    if you like, label (the true class) and box (x0 y0 x1 y1 in pixels).

    Writes results.parquet and results.csv, a row for each picture, and report.html: the most suspicious first, where on
    the tree the classes part, what is usual. Ctrl-C, a crash or a restart of the service costs nothing that is
    finished: the same command goes on.

    \b
    Try:
      pathlight bulk photos/ --out result --local
      pathlight bulk labelled.csv --out result --model nbdt-cifar10 --artifacts overlay
    """
    from cli.bulk.run import Bulk, BulkOptions

    settings = Settings.load()
    address = "" if local else address_of(server)
    job_options = validated(JobOptions, options)
    bulk = BulkOptions(source, out, job_options, artifacts, folder_labels, retry, address, key, language)
    sys.exit(not Bulk(bulk, settings, console).run())


@click.command()
@click.argument("job_id", metavar="ID")
@server
@api_key
@sentences
def status(job_id: str, server: str | None, key: str | None) -> None:
    """Show where a job stands, and its answer where it has one."""
    from cli.remote import service
    from cli.submit import print_job

    with service(address_of(server), api_key=key) as pathlight:
        print_job(pathlight.get(job_id), console)
