"""The ids of jobs and batches."""

from __future__ import annotations

import secrets


def new_id() -> str:
    """22 random letters, digits, dashes and underscores (just under 128 bits). None begins with a dash, which a command
    line would take for an option."""
    while (found := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return found
