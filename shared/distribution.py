"""The Python package that this project is installed as, and how more of it is installed.

`pathlight` itself is another project's name in the public registry: a hint must never send anybody there.
"""

from __future__ import annotations

NAME = "pathlight-explanations"


def install(extra: str) -> str:
    """The command that adds an optional part, such as "s3", to this checkout's environment."""
    return f".venv/bin/pip install -e '.[{extra}]'"
