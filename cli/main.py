"""The `pathlight` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.tree import KINDS as TREE_KINDS
from shared.cards import Registry
from shared.declarations import INTERPOLATIONS
from shared.errors import InvalidBundle, PathlightError
from shared.jobs import rfc3339
from shared.keys import Scope
from shared.language import ENGLISH, LANGUAGES
from shared.methods import METHODS
from shared.options import FILLS, TREES, TRUSTS
from shared.settings import Settings
from shared.store import JobStore

TARGET_HELP = "What to explain: a class (name or index), a node of the tree (name or id), predicted, or sure."
CONTRAST_HELP = "A second class or node: why TARGET rather than this one? Or: runner-up, or sure."

console = Console(highlight=False)
_FILE = click.Path(exists=True, dir_okay=False)


def sentences(command: Callable[..., Any]) -> Callable[..., Any]:
    """Expected errors end a command with one sentence, not with a traceback."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except PathlightError as error:
            raise click.ClickException(str(error)) from error

    return wrapper


api_key = click.option(
    "--key", envvar="PATHLIGHT_API_KEY", help="API key, where the service wants one.", show_envvar=True
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Explain what an image classifier does: which pixels, and by which decisions.

    \b
    Try:
      pathlight explain photo.jpg            explain one picture here and now
      pathlight run                          start the service and its page
      pathlight submit photo.jpg --wait      ask the running service
      pathlight bulk photos/ --out result    explain a whole folder, and report on it
    """


@main.command()
@sentences
def run() -> None:
    """Start Redis, a worker and the web server on this machine; Ctrl-C ends them all.

    PORT chooses the port (8000), PATHLIGHT_HOME the state directory (./.pathlight), REDIS_URL another Redis.
    """
    from cli.run import run as run_service

    run_service(Settings.load())


@main.command()
@click.argument("source", metavar="FILE-OR-URL")
@click.option("--model", "models", multiple=True, help="A model's name; may be given several times.")
@click.option("--target", default="predicted", show_default=True, help=TARGET_HELP)
@click.option("--contrast", help=CONTRAST_HELP)
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="How pixels are weighed; may be given several times.  [default: the best that each model can do]",
)
@click.option("--tree", type=click.Choice(TREES), default="auto", show_default=True, help="How the tree decides.")
@click.option("--trust", type=click.Choice(TRUSTS), default="basic", show_default=True, help="How much proof to add.")
@click.option(
    "--mask",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What if: a PNG of the picture's size, white where the picture is to be hidden.",
)
@click.option("--fill", type=click.Choice(FILLS), default=FILLS[0], show_default=True, help="What hidden parts become.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write maps and pictures here.")
@sentences
def explain(
    source: str,
    models: tuple[str, ...],
    target: str,
    contrast: str | None,
    methods: tuple[str, ...],
    tree: str,
    trust: str,
    mask: Path | None,
    fill: str,
    out: Path | None,
) -> None:
    """Explain one picture in this process, without Redis or a server.

    Prints each model's prediction, its five best classes and the decisions of its tree. With --out it writes
    heatmap.png, overlay.png, cam.npy and explanation.json for the first model, and the same in DIR/MODEL for others;
    the files of a second --method bear its name.
    """
    from cli.explain import explain_source, print_answer, write_result
    from shared.jobs import JobOptions

    settings = Settings.load()
    options = JobOptions(models or settings.default_models, methods, target, contrast, tree, trust, fill=fill)
    with console.status("loading…") as status:  # shows nothing where nobody watches
        picture, result = explain_source(
            source,
            options,
            settings,
            mask=mask,
            progress=lambda stage, done, total: status.update(f"{stage} {done}/{total}"),
        )
    print_answer(result.document, console)
    if out is not None:
        written = write_result(result, picture, out)
        console.print(f"\nwrote {written} files to {out}")


class _Picture(click.Path):
    """A file. Whoever gives an address is told of the option for it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).startswith(("http://", "https://")):
            self.fail(f"{value} is an address; give it as --image-url {value}", param, ctx)
        return super().convert(value, param, ctx)


@main.command()
@click.argument("files", nargs=-1, type=_Picture(path_type=Path))
@click.option(
    "--image-url",
    "addresses",
    metavar="URL",
    multiple=True,
    help="A picture's address, which the service fetches where its operator lets it (PATHLIGHT_IMAGE_URL=1); may be "
    "given several times.",
)
@click.option("--server", help="Address of the service  [default: this machine, by PORT]")
@api_key
@click.option("--model", "models", multiple=True, help="A model's name; may be given several times.")
@click.option("--target", default="predicted", show_default=True, help=TARGET_HELP)
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
    models: tuple[str, ...],
    target: str,
    webhook: str | None,
    wait: bool,
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
    with service(server or _server(Settings.load()), api_key=key) as pathlight:
        well = submit_pictures(
            pathlight, pictures, wait=wait, console=console, models=models, target=target, webhook=webhook
        )
    sys.exit(not well)


@main.command()
@click.argument("source", metavar="FOLDER|GLOB|ARCHIVE|MANIFEST.csv")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Write everything here.")
@click.option("--local", is_flag=True, help="Work in this process, on all cores, without a service.")
@click.option("--server", help="Address of the service  [default: this machine, by PORT]")
@api_key
@click.option("--model", "models", multiple=True, help="A model's name; may be given several times.")
@click.option("--target", default="predicted", show_default=True, help=TARGET_HELP)
@click.option("--contrast", help=CONTRAST_HELP)
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="How pixels are weighed; may be given several times.  [default: the best that each model can do]",
)
@click.option("--tree", type=click.Choice(TREES), default="auto", show_default=True, help="How the tree decides.")
@click.option("--trust", type=click.Choice(TRUSTS), default="basic", show_default=True, help="How much proof to add.")
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
    models: tuple[str, ...],
    target: str,
    contrast: str | None,
    methods: tuple[str, ...],
    tree: str,
    trust: str,
    artifacts: str,
    folder_labels: bool,
    retry: bool,
    language: str,
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
    from cli.bulk.run import Asked, Bulk
    from shared.jobs import JobOptions

    settings = Settings.load()
    options = JobOptions(models, methods, target, contrast, tree, trust)
    address = "" if local else server or _server(settings)
    asked = Asked(source, out, options, artifacts, folder_labels, retry, address, key, language)
    sys.exit(not Bulk(asked, settings, console).run())


@main.command()
@click.argument("job_id", metavar="ID")
@click.option("--server", help="Address of the service  [default: this machine, by PORT]")
@api_key
@sentences
def status(job_id: str, server: str | None, key: str | None) -> None:
    """Show where a job stands, and its answer where it has one."""
    from cli.remote import service
    from cli.submit import print_job

    with service(server or _server(Settings.load()), api_key=key) as pathlight:
        print_job(pathlight.get(job_id), console)


@main.command()
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


@main.group(invoke_without_command=True)
@click.pass_context
@sentences
def models(context: click.Context) -> None:
    """List the models: what they are, and whether they are ready."""
    if context.invoked_subcommand is None:
        _list_models()


@models.command("list")
@sentences
def list_() -> None:
    """List the models, as `pathlight models` does."""
    _list_models()


def _list_models() -> None:
    registry = Registry.load(Settings.load())
    longest = max(map(len, registry.cards), default=0)
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "ready", "classes", "tree", "what it is"):
        table.add_column(heading, no_wrap=heading == "model", min_width=longest if heading == "model" else None)
    for card in registry.cards.values():
        tree = "no" if card.hierarchy is None else "supervised" if card.tree_supervised else "yes"
        table.add_row(card.name, "no" if card.missing else "yes", str(card.class_count), tree, escape(card.title))
    console.print(table)
    for name, reason in registry.unchecked.items():
        console.print(f"\n{name} is not ready: {reason}; run: pathlight models add {name}", soft_wrap=True)
    for card in registry.cards.values():
        if card.missing:
            console.print(f"\n{card.name} is not ready: {card.missing}; run: {card.remedy}", soft_wrap=True)


@models.command()
@click.argument("names", nargs=-1)
@sentences
def fetch(names: tuple[str, ...]) -> None:
    """Download the weights of upstream models (all of them, or NAMES) into the cache, and check them.

    A running service takes note within seconds.
    """
    from cli.fetch import fetch_models

    fetch_models(names, Settings.load(), console)


@models.command()
@click.argument("name", required=False)
@click.option("--architecture", help="LIBRARY/NAME, of torchvision, timm or pytorchcv.")
@click.option("--weights", type=_FILE, help="A safetensors file, or a state dict (.pth, .pt).")
@click.option("--classes", type=_FILE, help="Names, one a line or a JSON list.  [default: torchvision's of ImageNet]")
@click.option("--hierarchy", type=_FILE, help="A tree over the classes, hierarchy.json.")
@click.option("--title", help="What the model is, in a few words.")
@click.option("--size", type=int, help="Side of the input in pixels.  [default: the library's]")
@click.option("--resize", type=int, help="Pixels that the shorter side is reduced to.")
@click.option("--crop", type=int, help="Pixels of the centre square that is cut out then.")
@click.option("--mean", type=float, nargs=3, help="Mean colour, red green blue from 0 to 1.")
@click.option("--std", type=float, nargs=3, help="Standard deviation of the colours, above 0 to 1.")
@click.option("--interpolation", type=click.Choice(INTERPOLATIONS), help="Of the reduction.")
@click.option("--force", is_flag=True, help="Replace the entry that NAME has.")
@sentences
def add(name: str | None, force: bool, **given: Any) -> None:
    """Add a model of your own: check it, and write it into models.toml.

    The architecture is taken by its name from a library, the weights are read as plain tensors, and no code of yours
    is run. Pathlight finds the last feature map and the head, checks that they give the network's own logits, and
    measures the certificate of the maps and the time a picture takes. All of it is written into the model's card.

    Without options, the entry NAME of models.toml is checked; without a name, all that were not. A running service
    takes note within seconds.

    \b
    Try:
      pathlight models add pets --architecture torchvision/mobilenet_v3_small --weights pets.pth --classes pets.txt
      pathlight explain photo.jpg --model pets --method gradcam
    """
    from cli.own_models import add_models

    entry = {
        key: list(value) if isinstance(value, tuple) else value for key, value in given.items() if value is not None
    }
    add_models(name, entry, Settings.load(), console, force=force)


@models.command()
@click.argument("names", nargs=-1, required=True)
@sentences
def remove(names: tuple[str, ...]) -> None:
    """Remove models of your own: their entries in models.toml, later their cards and the copies of their weights.

    A running service takes note within seconds. What it has accepted before is still answered, so that the files stay
    for an hour at least, and until no unfinished job names them; then the service, or `pathlight gc`, removes them.
    """
    from cli.own_models import remove_models

    remove_models(names, Settings.load(), console)


@main.group()
def tree() -> None:
    """The trees over the models' classes, by which decisions are explained."""


@tree.command("build")
@click.argument("model")
@click.option(
    "--kind", type=click.Choice(TREE_KINDS), default="induced", show_default=True, help="Where the tree comes from."
)
@click.option(
    "--normalise/--raw",
    default=None,
    help="Induced: cluster the head's rows divided by their lengths, or as they are.  [default: normalise]",
)
@click.option(
    "--wordnet",
    "dictionary",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of WordNet 3.0's data.noun.  [default: /usr/share/wordnet]",
)
@click.option("--force", is_flag=True, help="Replace the tree that the model has.")
@sentences
def build(model: str, kind: str, normalise: bool | None, dictionary: Path | None, force: bool) -> None:
    """Build a tree over the classes of MODEL and store it beside its card, as hierarchy.json.

    An induced tree follows what the network learned: Ward clustering of the rows of its linear head, always binary. It
    needs the weights. A wordnet tree follows what the classes are, and needs their WordNet ids in the card.

    Decisions are named by the deepest WordNet noun that all classes below are kinds of; without WordNet ids they have
    no name. Labels that somebody wrote into the replaced file stay with nodes over the same classes. The same weights
    and the same WordNet always give the same file.

    \b
    Try:
      pathlight tree build resnet18-imagenet --kind wordnet --force
      pathlight tree build resnet18-photos100 --raw --force
    """
    from cli.tree import build_tree

    settings = Settings.load()
    build_tree(
        model,
        kind=kind,
        normalise=normalise,
        dictionary=dictionary,
        force=force,
        settings=settings,
        console=console,
    )


@main.command("train-tree")
@click.argument("model")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Labelled pictures: one sub-folder for each class, called like it.",
)
@click.option("--name", help="What the new model is to be called.  [default: MODEL-tree]")
@click.option(
    "--hierarchy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The tree, hierarchy.json.  [default: the one that MODEL has; without one, that of its head]",
)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True, help="Epochs at most.")
@click.option(
    "--patience", type=click.IntRange(1), default=3, show_default=True, help="End after so many without gain."
)
@click.option("--batch", type=click.IntRange(2), default=32, show_default=True, help="Pictures in one step.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=0.01, show_default=True, help="Peak of SGD.")
@click.option(
    "--tree-share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="The tree's part of the loss."
)
@click.option(
    "--held-out",
    type=click.FloatRange(0, 0.9, min_open=True),
    default=0.2,
    show_default=True,
    help="Share of the pictures that is not trained on: half to choose the epoch by, half to measure on.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--force", is_flag=True, help="Train the model NAME anew, or with other options.")
@sentences
def train_tree(model: str, data: Path, **given: Any) -> None:
    """Fine-tune MODEL on a tree over its classes: a neural-backed decision tree of your own.

    The network learns to decide rightly at every node of the tree (the loss of arXiv 2004.00221, as a likelihood), so
    that soft and hard decisions come nearer to its own answers. The result is a new model; MODEL stays as it is. Its
    card states the accuracies of network, soft, hard and marginal decisions on pictures that were not trained on.

    Ctrl-C or a crash costs the epoch that was under way: the same command goes on, and comes to the same weights.

    \b
    Try:
      pathlight train-tree pets --data pictures/
      pathlight explain photo.jpg --model pets-tree
    """
    from cli.train_tree import Asked, train

    train(Asked(model=model, data=data, **given), Settings.load(), console)


@main.group()
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


@main.command()
@click.argument("target", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@sentences
def backup(target: Path) -> None:
    """Write all that the embedded service remembers into one file; beside a running service too.

    Jobs, API keys, pictures, results and models of your own, as they are at one moment. Whoever has the file has the
    pictures: it is readable by you alone. Fetched weights are left out; pathlight models fetch brings them. Pictures
    and results in a bucket (PATHLIGHT_BLOBS) stay there.

    \b
    Try:
      pathlight backup backups/                     a new file in that folder
      PATHLIGHT_HOME=elsewhere pathlight restore backups/pathlight-20260101-120000.tar
    """
    from cli.backup import backup as write

    with console.status("backing up…") as status:
        path, contents = write(target, Settings.load(), progress=status.update)
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


@main.command()
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
        contents = read(source, settings, progress=status.update)
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


@main.command()
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
    from shared.blobs import Swept

    settings, freed = Settings.load(), Swept()
    if owner is not None:
        with console.status("looking at jobs…") as status:
            jobs, freed = forget_owned(owner, settings, dry_run=dry_run, progress=status.update)
        console.print(f"{'would forget' if dry_run else 'forgot'} {jobs} ended jobs of {escape(owner)}")
    swept = freed + collect_garbage(settings, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    console.print(f"{verb} {swept.files} files that no job names, {swept.bytes / 1e6:.1f} MB")


@main.command()
@sentences
def pools() -> None:
    """Show which workers are here, by pool: what they take, and what waits for them.

    A pool is made of workers with PATHLIGHT_POOL=NAME, which take the jobs of PATHLIGHT_POOL_MODELS and
    PATHLIGHT_POOL_LANES alone and hear the Celery queue drain.NAME (docs/scaling.md).
    """
    from cli.pools import print_pools

    print_pools(JobStore.connect(Settings.load()).pools.staff(), console)


@main.command()
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


def _server(settings: Settings) -> str:
    return f"http://{settings.host}:{settings.port}"
