"""Models over HTTP: which there are, what each can do, and the fetching of those that have an upstream."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, jsonify, url_for
from flask_openapi3 import APIBlueprint

from shared.cards.card import ModelCard
from shared.jobs import TREES
from shared.settings import Settings
from shared.store.fetches import Fetch
from web.api import fetching
from web.api.description import problems_of
from web.api.replies import accepted
from web.api.schemas import FetchOut, ModelList, ModelPath
from web.api.services import services


def add_to(api: APIBlueprint) -> None:
    """The routes of models, as a part of the blueprint of jobs: figures and logs name them by it."""
    api.get("/models", summary="All models, ready or not", responses={"200": ModelList})(list_models)
    api.post(
        "/models/<name>/fetch",
        summary="Fetch an upstream model in the background",
        description="For the operator: from the service's own machine where no key is needed, else with a key of "
        "the scope admin. A request during a fetch joins it. `GET /api/v1/models` says how far it is.",
        responses={
            "202": FetchOut,
            **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
        },
    )(fetch_model)


def list_models() -> Response:
    given = services()
    fetches = fetching.under_way(given)
    cards = given.registry().cards.values()
    return jsonify({"models": [model_json(card, given.settings, fetch=fetches.get(card.name)) for card in cards]})


def fetch_model(path: ModelPath) -> Response:
    fetch = fetching.begin(path.name, services())
    return accepted(fetch.to_dict(), location=url_for("api.list_models"))


def model_json(card: ModelCard, settings: Settings, *, fetch: Fetch | None) -> dict[str, Any]:
    """One model of the list, with what it can do. `reason` says why it is not ready, or else what it cannot do."""
    return {
        "name": card.name,
        "title": card.title,
        "ready": card.missing is None,
        "reason": card.missing or card.limit,
        "remedy": card.remedy,
        "default": card.name in settings.default_models,
        "architecture": card.architecture,
        "class_count": card.class_count,
        "classes": list(card.classes),
        "methods": list(card.methods),
        "tree_modes": [mode for mode in TREES if mode not in ("auto", "off")] if card.hierarchy else [],
        "tree_supervised": card.tree_supervised,
        "weights_sha256": card.weights.sha256,
        "facts": dict(card.facts),
        "fetch": fetch.to_dict() if fetch else None,
    }
