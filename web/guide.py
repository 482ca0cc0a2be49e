"""The pages around an answer: the models and their cards, what maps and paths mean, and this browser's history."""

from __future__ import annotations

from flask import Blueprint, render_template

from shared.settings import Settings
from web.models import Snapshot
from web.pages import in_order


def blueprint(settings: Settings, *, registry: Snapshot) -> Blueprint:
    """Pages that need no job."""
    guide = Blueprint("guide", __name__)

    @guide.get("/models")
    def models() -> str:
        defaults = settings.default_models
        cards = in_order(registry(), settings)
        return render_template("models.html", cards=cards, unchecked=registry().unchecked, defaults=defaults)

    @guide.get("/meaning")
    def meaning() -> str:
        return render_template("meaning.html")

    @guide.get("/history")
    def history() -> str:
        """The list itself is the browser's: the server neither keeps it nor sees it."""
        return render_template("history.html")

    return guide
