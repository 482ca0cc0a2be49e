"""`pathlight settings`: what can be set, and what it is here; as a table, or as the page `docs/settings.md`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields

from rich.table import Table

from shared.settings import Settings, variable

HEADINGS = {  # by the setting that a section begins with
    "home": "Where things are",
    "host": "Who reaches the server",
    "classifier": "Models",
    "log_format": "What is logged and kept",
    "image_bytes": "What a request may bring",
    "web_threads": "How much at once",
    "pool": "Workers",
    "image_url": "Other hosts",
}
_INTRODUCTION = """# Settings

Written by `make settings-page` from `shared/settings.py`. Each is an environment variable. Times are in seconds, sizes
in bytes. `pathlight settings` prints what they are on a machine.
"""


def table(settings: Settings) -> Table:
    """Each setting with its value here, and what it means. Secrets are not shown."""
    found = Table(box=None, pad_edge=False)
    found.add_column("variable", no_wrap=True)
    found.add_column("value", overflow="fold", max_width=30)
    found.add_column("meaning")
    for one in fields(Settings):
        value = str(getattr(settings, one.name)) if one.repr else _hidden(getattr(settings, one.name))
        found.add_row(variable(one.name), value, one.metadata["text"])
    return found


def page() -> str:
    """The page for the repository, in Markdown."""
    return "\n".join([_INTRODUCTION.rstrip(), *_lines()]) + "\n"


def _lines() -> Iterator[str]:
    for one in fields(Settings):
        if heading := HEADINGS.get(one.name):
            yield from ("", f"## {heading}", "", "| variable | default | meaning |", "|---|---|---|")
        yield f"| `{variable(one.name)}` | {_default(one)} | {one.metadata['text']} |"


def _default(setting: Field[object]) -> str:
    """As one would write it; a default that depends on the machine is in the text."""
    if setting.default is MISSING:
        return ""
    return f"`{setting.default}`" if str(setting.default) else ""


def _hidden(value: str) -> str:
    return "(set)" if value else ""
