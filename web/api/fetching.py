"""Fetching upstream models from the page or by the API, for the operator."""

from __future__ import annotations

from shared.errors import JobConflict, StoreUnavailable, UnknownJob
from shared.store.fetches import Fetch
from shared.store.job_store import Role
from web.api.services import Services
from web.http import access
from web.http.problems import NoFetcher


def begin(name: str, services: Services) -> Fetch:
    """Have a model fetched in the background, or join the fetch that is under way. Raises NotAllowed, UnknownJob where
    there is no such model, JobConflict where there is nothing to fetch, NoFetcher, or StoreUnavailable."""
    access.require_operator()
    store = services.store
    card = services.registry().cards.get(name)
    if card is None:
        raise UnknownJob("there is no model of this name")
    if card.weights.url is None:
        raise JobConflict(f"{name} has no upstream: its weights lie beside its card")
    if card.missing is None:
        raise JobConflict(f"{name} is ready")
    if not store.count_heard(Role.FETCHER):
        raise NoFetcher(f"no process of this service fetches models; run: {card.restore}")
    store.fetches.begin(name)
    services.bell.ring_fetcher()
    return store.fetches.look([name])[name]


def under_way(services: Services) -> dict[str, Fetch]:
    """The fetches of models that are not ready, for the operator; none for others, and none where Redis
    does not answer."""
    if not access.caller().is_operator:
        return {}
    cards = services.registry().cards.values()
    try:
        return services.store.fetches.look([card.name for card in cards if card.weights.url and card.missing])
    except StoreUnavailable:
        return {}
