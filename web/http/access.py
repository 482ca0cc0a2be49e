"""Who is asking, and whether they may: API keys and sessions, checked before every request.

A key is sent in the header X-API-Key, or held by a session whose cookie the sign-in page has set. Everything that is
not named in `OPEN` needs one as soon as others than this machine's own people can reach the server; a new route is shut
by itself. What is asked for with a session's cookie may change something only with that session's form token.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import SecurityError

from shared.settings import Settings
from shared.store.keys import ApiKey, KeyRing, Scope
from web.http import csrf
from web.http.problems import KeyRequired, NotAllowed, wants_page

HEADER = "X-API-Key"
OPEN = {"health.healthz", "health.readyz", "pages.static", "sign_in.form", "sign_in.enter"}
OPERATORS = {"/metrics"}
FORMS = {"pages", "guide", "sign_in"}  # blueprints whose forms bear a token that their views check
SAFE = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True)
class Caller:
    """Whoever sent the request. `key` is None where keys are off, or where the route is open to all."""

    key: ApiKey | None = None
    signed_in: bool = False

    @property
    def owner(self) -> str:
        """Whose the jobs are that this caller submits."""
        return self.key.id if self.key else ""

    @property
    def viewer(self) -> str | None:
        """Whose jobs this caller may see; None: everybody's."""
        return None if self.key is None or self.key.may(Scope.ADMIN) else self.key.id

    @property
    def is_operator(self) -> bool:
        """Whether this caller operates the service: with an admin's key, or from where no key is needed."""
        return self.key is None or self.key.may(Scope.ADMIN)


def may_read() -> bool:
    """Whether the caller may see results, rather than only submit."""
    key = caller().key
    return key is None or key.may(Scope.READ)


def require_operator() -> None:
    """Raises NotAllowed where the caller does not operate the service."""
    if not caller().is_operator:
        raise NotAllowed("only the operator may do this: with a key of the scope admin")


def caller() -> Caller:
    """The caller of the current request, which has been let in."""
    found: Caller = g.caller
    return found


def sharer() -> str:
    """Whose share the current request's work counts to: the key's, or where there is none, the host's, which is kept as
    a digest."""
    return g.get("caller", Caller()).owner or _sharer_at(request.remote_addr)


@lru_cache(maxsize=1024)
def _sharer_at(address: str | None) -> str:
    return f"address:{hashlib.sha256(host_of(address).encode()).hexdigest()[:16]}"


def host_of(address: str | None) -> str:
    """What stands for the host of an address: of IPv6, the network of 64 bits, within which a host chooses its own."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((found.packed, 64), strict=False))


def register(app: Flask, settings: Settings, keys: KeyRing) -> None:
    """Let nobody in who may not be."""

    @app.before_request
    def admit() -> ResponseReturnValue | None:
        if isinstance(request.routing_exception, SecurityError):
            raise request.routing_exception  # a host that is not to be trusted
        if request.endpoint in OPEN:
            return None
        if HEADER not in request.headers and _by_another_site():
            raise NotAllowed("this request was made by another site; send the header X-API-Key to make it anyway")
        if not keys_needed(settings):
            g.caller = Caller()
            return None
        g.caller = _identify(keys)
        if g.caller.key is None:
            if request.method in SAFE and wants_page():
                return redirect(url_for("sign_in.form", next=request.full_path.rstrip("?")), HTTPStatus.SEE_OTHER)
            raise KeyRequired(f"send a valid API key in the header {HEADER}; the operator makes one")
        _check_scope(g.caller.key)
        if g.caller.signed_in and request.blueprint not in FORMS and request.method not in SAFE:
            _check_token()
        return None

    @app.context_processor
    def signed_in() -> dict[str, object]:
        here = g.get("caller", Caller())
        return {"signed_in": here.key.name, "csrf_token": csrf.token_for(request)} if here.signed_in else {}


def keys_needed(settings: Settings) -> bool:
    """Whether this request needs a key. Where nothing is said, one from this very machine does not, unless the server
    is meant for others."""
    return settings.keys_required or (settings.keys == "auto" and not _is_loopback(request.remote_addr))


def _is_loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def credential() -> str | None:
    """What the request shows to be let in: a key, or the cookie of a session."""
    token = request.headers.get(HEADER)
    if token is not None or "Cookie" not in request.headers:
        return token
    return request.cookies.get(csrf.cookie(csrf.SESSION, request))


def _identify(keys: KeyRing) -> Caller:
    shown = credential()
    if HEADER in request.headers:
        return Caller(keys.find(shown or ""))
    return Caller(keys.of_session(shown), signed_in=True) if shown else Caller()


def _check_scope(key: ApiKey) -> None:
    needed = Scope.ADMIN if request.path in OPERATORS else Scope.READ if request.method in SAFE else Scope.SUBMIT
    if not key.may(needed):
        raise NotAllowed(f"the key {key.name} may {' and '.join(sorted(key.scopes))}, and this needs {needed}")


def _check_token() -> None:
    if not csrf.is_genuine(request, form=False):
        raise NotAllowed(f"with a session's cookie, this needs the session's token in the header {csrf.HEADER}")


def _by_another_site() -> bool:
    """Whether another site had a browser send something that changes something. Of the pages' own forms a browser does
    not tell the origin."""
    if request.method in SAFE or request.blueprint in FORMS:
        return False
    if site := request.headers.get("Sec-Fetch-Site"):
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host
