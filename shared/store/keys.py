"""API keys: who may use the service, and the sessions that were opened with a key.

A key's token is 256 random bits. Redis keeps only its SHA-256, which is enough for a secret that nobody can guess:
slow hashes are for passwords that people choose. The token begins with the key's id, by which its record is found, so
that the comparison of the secret itself takes the same time whatever was sent. Of a session only the hash is kept too.
It names its key, and ends with it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import redis

from shared.errors import InvalidOption, UnknownKey
from shared.settings import Settings
from shared.store.connection import PREFIX, Scripts, answering

TOKEN = re.compile(r"pl_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
ID = re.compile(r"[0-9a-f]{12}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_NOBODY = "0" * 64  # compared with where there is no record, so that an unknown id takes as long as a wrong secret


class Scope(StrEnum):
    """What a key may do: send pictures and change jobs, look at its own jobs, or everything with everybody's."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True)
class ApiKey:
    """One key, without its secret. `id` is the owner of whatever is submitted with it."""

    id: str
    name: str
    scopes: frozenset[Scope]
    created_ms: int

    def may(self, scope: Scope) -> bool:
        """Whether the key has this scope; the scope admin has all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class KeyRing:
    """All keys and sessions. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._session_ms = round(settings.session_seconds * 1000)
        self._scripts = Scripts(client, ("create_key", "revoke_key", "open_session", "session_key"))

    def create(self, name: str, scopes: Iterable[Scope]) -> tuple[ApiKey, str]:
        """A new key and its token, which is told this once. Raises InvalidOption where the name is bad or taken."""
        if not NAME.fullmatch(name):
            raise InvalidOption(f"name: {name!r} must be letters, digits and . _ @ - (64 at most, no leading mark)")
        key_id = secrets.token_hex(6)
        token = f"pl_{key_id}_{secrets.token_urlsafe(32)}"
        chosen = frozenset(scopes)
        if not chosen:
            raise InvalidOption(f"scope: give at least one of {', '.join(Scope)}")
        record = {"name": name, "scopes": sorted(chosen), "digest": _digest(token)}
        created = self._scripts.call("create_key", id=key_id, name=name, record=record)
        if not created:
            raise InvalidOption(f"name: there is a key named {name} already; choose another, or revoke that one first")
        return ApiKey(key_id, name, chosen, int(created)), token

    def all(self) -> list[ApiKey]:
        """Every key, oldest first."""
        with answering():
            records = cast("dict[str, str]", self._redis.hgetall(f"{PREFIX}keys"))
        keys = [_key(key_id, json.loads(text)) for key_id, text in records.items()]
        return sorted(keys, key=lambda key: (key.created_ms, key.name))

    def revoke(self, name: str) -> None:
        """End the key of this name or id, and every session opened with it. Raises UnknownKey."""
        if not self._scripts.call("revoke_key", name=name):
            raise UnknownKey(f"there is no key named {name}; pathlight keys list shows all")

    def find(self, token: str) -> ApiKey | None:
        """The key that this token opens."""
        match = TOKEN.fullmatch(token)
        if match is None:
            return None
        with answering():
            text = cast("str | None", self._redis.hget(f"{PREFIX}keys", match[1]))
        record = json.loads(text) if text else {"digest": _NOBODY}
        right = secrets.compare_digest(_digest(token), record["digest"])
        return _key(match[1], record) if right and text else None

    def open_session(self, key: ApiKey) -> str:
        """A new session of this key; its secret is for the browser's cookie."""
        session = secrets.token_urlsafe(32)
        self._scripts.call("open_session", session=_digest(session), key=key.id, lasts_ms=self._session_ms)
        return session

    def of_session(self, session: str) -> ApiKey | None:
        """The key that a session was opened with; None where either has ended."""
        found = self._scripts.call("session_key", session=_digest(session))
        return _key(found[0], json.loads(found[1])) if found else None

    def close_session(self, session: str) -> None:
        """Forget a session. Nothing happens where there is none."""
        with answering():
            self._redis.delete(_session(session))


def _key(key_id: str, record: dict[str, Any]) -> ApiKey:
    return ApiKey(key_id, record["name"], frozenset(map(Scope, record["scopes"])), int(record["created"]))


def _session(session: str) -> str:
    return f"{PREFIX}session:{_digest(session)}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
