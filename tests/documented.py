"""The commands of README and docs, for the tests that run them."""

from __future__ import annotations

import re

from shared.settings import REPOSITORY

PAGES = ("README.md", *sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md")))


def commands(text: str) -> list[str]:
    """The lines of the shell blocks, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    return [re.split(r"\s+# ", line)[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def commands_of(page: str) -> list[str]:
    return commands((REPOSITORY / page).read_text("utf-8"))


def inline_code(text: str) -> set[str]:
    """Commands, settings, folders and addresses in the running text."""
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    return {" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)}
