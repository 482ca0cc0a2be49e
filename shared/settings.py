"""Settings: one frozen record built from a mapping, by default the environment. Nothing else reads the environment."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import quote, urlsplit

from shared.cores import usable_cores
from shared.errors import InvalidSetting

LOOPBACK = ("127.0.0.1", "localhost", "::1")
REPOSITORY = Path(__file__).resolve().parents[1]
_WORDS = {
    "durability": ("everysec", "always"),
    "precision": ("auto", "fp32", "bf16"),
    "log_format": ("text", "json"),
    "keys": ("auto", "required", "off"),
}
_POSITIVE = ("batch_size", "concurrency", "max_attempts", "webhook_attempts", "lease_seconds", "reap_seconds")
_LIMITS = ("queue_limit_per_key", "writes_per_minute", "reads_per_minute", "sign_ins_per_minute")
WEBHOOK_PREFIX = "whsec_"
SHORTEST_WEBHOOK_KEY = 24  # bytes, as Standard Webhooks asks
SHORTEST_SIGNING_KEY = 32  # characters
_BUCKET = re.compile(r"(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?)?")
_POOL = re.compile(r"[a-z0-9-]{0,32}")
LONGEST_SOCKET_PATH = 100  # bytes; Linux allows 107 and some clients append to it


def _setting(default: Any, text: str, *, secret: bool = False) -> Any:
    """A setting with its default and what it means. `docs/settings.md` shows the text; a secret is never printed."""
    return field(default=default, repr=not secret, metadata={"text": text})


def _processes() -> int:
    """Two do a fifth more than one does on all cores."""
    return min(2, usable_cores())


@dataclass(frozen=True)
class Settings:
    """Every limit and place, each set by PATHLIGHT_<NAME> (REDIS_URL and PORT go by their usual names)."""

    # -- where things are
    home: Path = _setting(Path(".pathlight"), "Folder of the state: jobs, images, fetched weights.")
    redis_url: str = _setting(
        "", "Redis to use; without it, Pathlight starts one of its own in the folder of the state.", secret=True
    )
    blobs_url: str = _setting(
        "", "Bucket for images and results, as in `s3://bucket/prefix`; without it, a folder of the state."
    )
    models_file: str = _setting("", "File that declares your own models; without it, `models.toml` in the state.")

    # -- who reaches the server
    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8000, "Port to listen on; 0 takes a free one.")
    keys: str = _setting(
        "auto", "API keys are `required`, `off`, or with `auto` required as soon as others can reach the server."
    )
    trusted_hosts: str = _setting(
        "", "Names, by comma, that requests may call the server by; without them loopback's, or any where keys are on."
    )
    proxy_hops: int = _setting(0, "Reverse proxies in front of the server, whose word about the client is taken.")
    public_url: str = _setting("", "Address where others reach the server, for the links in webhooks.")
    session_seconds: float = _setting(12 * 3600.0, "How long a sign-in lasts.")
    signing_key: str = _setting("", "Key that signs bundles; without it they are not signed.", secret=True)

    # -- models
    classifier: str = _setting("efficientnet-lite0-imagenet", "First of the models that answer by default.")
    tree_model: str = _setting("nbdt-cifar10", "Second of the models that answer by default.")
    precision: str = _setting(
        "auto", "Numbers of the networks: `fp32`, `bf16`, or with `auto` bf16 where processor and model card allow it."
    )

    # -- what is logged and kept
    log_format: str = _setting("text", "`text` for people, `json` for programs.")
    durability: str = _setting(
        "everysec", "With `always`, the disk has what a request brought before the request is answered."
    )
    retention_seconds: float = _setting(7 * 24 * 3600.0, "How long a job that has ended is kept.")
    tombstone_seconds: float = _setting(3 * 24 * 3600.0, "For how long after that a job's id is answered with 410.")
    blob_grace_seconds: float = _setting(3600.0, "How long a file that no job names is kept: its job may be coming.")
    disk_reserve_bytes: int = _setting(256 * 1024 * 1024, "Free room on the disk below which nothing new is accepted.")
    redis_memory_bytes: int = _setting(512 * 1024 * 1024, "Memory of the embedded Redis.")

    # -- what a request may bring
    image_bytes: int = _setting(10 * 1024 * 1024, "Bytes of an image.")
    image_pixels: int = _setting(25_000_000, "Pixels of an image.")
    image_side: int = _setting(8192, "Pixels of its longer side.")
    request_bytes: int = _setting(16 * 1024 * 1024, "Bytes of a request that is no batch.")
    form_memory_bytes: int = _setting(256 * 1024, "Bytes of a form's field that is no file.")
    request_parts: int = _setting(40, "Parts of a form.")
    batch_bytes: int = _setting(2 * 1024**3, "Bytes of a batch, as it is sent and as its archive unpacks.")
    batch_members: int = _setting(10_000, "Images of a batch.")

    # -- how much at once
    web_threads: int = _setting(256, "Requests that a web process answers at a time.")
    event_streams: int = _setting(64, "Event streams of a web process; each holds a thread until its job has ended.")
    queue_limit: int = _setting(1000, "Interactive jobs that may wait.")
    queue_limit_per_key: int = _setting(200, "Interactive jobs that may wait of one API key.")
    writes_per_minute: int = _setting(600, "Requests of one API key that change something.")
    reads_per_minute: int = _setting(6000, "Other requests of one API key.")
    sign_ins_per_minute: int = _setting(20, "Attempts to sign in from one address.")

    # -- workers
    pool: str = _setting("", "Name of this worker's pool; its Celery queue is `drain.NAME`, or `drain` without a name.")
    pool_models: str = _setting("", "Models, by comma, whose jobs the pool takes; without them all.")
    pool_lanes: str = _setting("", "Lanes whose jobs the pool takes, `interactive` or `bulk`; without them both.")
    batch_size: int = _setting(8, "Jobs that a worker answers together.")
    concurrency: int = field(
        default_factory=_processes,
        metadata={"text": "Processes of a worker, each with its share of the cores; by default two, or one a core."},
    )
    lease_seconds: float = _setting(30.0, "How long a job stays with a worker that is not heard of.")
    reap_seconds: float = _setting(10.0, "How often the keeper looks for jobs of workers that are lost.")
    max_attempts: int = _setting(3, "How often a job is started before it fails.")
    deadline_seconds: float = _setting(24 * 3600.0, "How long a job may wait; then it expires.")
    batch_deadline_seconds: float = _setting(7 * 24 * 3600.0, "How long a member of a batch may wait.")
    soft_time_limit_seconds: int = _setting(90, "After which a job of a worker is stopped and fails.")
    time_limit_seconds: int = _setting(120, "After which the worker's process is ended.")
    soft_shutdown_seconds: float = _setting(30.0, "How long a worker may go on with its batch when it has to stop.")
    heartbeat_seconds: float = _setting(30.0, "A worker that was not heard of for longer does not count as ready.")

    # -- other hosts
    image_url: bool = _setting(False, "Whether a job may name the address of an image instead of bringing one.")
    outbound_at_once: int = _setting(32, "Exchanges with other hosts of one web process.")
    outbound_seconds: float = _setting(10.0, "How long such an exchange may take.")
    outbound_ports: str = _setting("80,443", "Ports of other hosts that may be contacted, by comma.")
    outbound_loopback: bool = _setting(False, "Whether such an address may lead to this very machine.")
    webhook_secret: str = _setting(
        "", "Signs webhooks: `whsec_` and at least 24 bytes in base64; without it none are sent.", secret=True
    )
    webhook_attempts: int = _setting(8, "Attempts at one webhook, each after four times as long a pause as before.")
    webhook_pause_seconds: float = _setting(10.0, "The first of these pauses.")

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; raises InvalidSetting naming key and value."""
        source = os.environ if environment is None else environment
        kinds = get_type_hints(cls)
        given = {
            f.name: _parse(variable(f.name), source[variable(f.name)], kinds[f.name])
            for f in fields(cls)
            if source.get(variable(f.name))
        }
        return cls(**given)

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", self.home.absolute())
        self._check_numbers()
        self._check_words()
        self._check_access()
        self._check_outbound()
        self._check_pool()
        self._check_together()

    def _check_numbers(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidSetting(f"PORT={self.port} is not a port number")
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise InvalidSetting(f"{variable(f.name)}={value} must be a finite number and not negative")
        for name in (*_POSITIVE, *_LIMITS):
            if getattr(self, name) <= 0:
                raise InvalidSetting(f"{variable(name)}={getattr(self, name)} must be above zero")

    def _check_words(self) -> None:
        for name, words in _WORDS.items():
            if (value := getattr(self, name)) not in words:
                *others, last = words
                raise InvalidSetting(f"{variable(name)}={value!r} must be {', '.join(others)} or {last}")
        if not _BUCKET.fullmatch(self.blobs_url):
            raise InvalidSetting(f"PATHLIGHT_BLOBS={self.blobs_url!r} must be s3://bucket or s3://bucket/prefix")
        _check_redis_url(self.redis_url)

    def _check_access(self) -> None:
        if self.keys == "off" and self.is_public:
            raise InvalidSetting(
                f"PATHLIGHT_KEYS='off' would let everybody in who reaches PATHLIGHT_HOST={self.host!r} "
                f"(PATHLIGHT_PROXY_HOPS={self.proxy_hops}); leave it at auto, and run: pathlight keys create NAME"
            )
        if 0 < len(self.signing_key) < SHORTEST_SIGNING_KEY:
            raise InvalidSetting(
                f"PATHLIGHT_SIGNING_KEY must have at least {SHORTEST_SIGNING_KEY} characters; "
                "make one with: openssl rand -hex 32"
            )

    def _check_outbound(self) -> None:
        if not re.fullmatch(r"[0-9]{1,5}(,[0-9]{1,5})*", self.outbound_ports):
            raise InvalidSetting(f"PATHLIGHT_OUTBOUND_PORTS={self.outbound_ports!r} must be port numbers, as in 80,443")
        _check_webhook_secret(self.webhook_secret)
        _check_public_url(self.public_url)

    def _check_pool(self) -> None:
        if not _POOL.fullmatch(self.pool):
            raise InvalidSetting(f"PATHLIGHT_POOL={self.pool!r} must be up to 32 small letters, digits and hyphens")
        if not self.pool and (self.pool_models or self.pool_lanes):
            raise InvalidSetting(
                "PATHLIGHT_POOL_MODELS and PATHLIGHT_POOL_LANES say what a pool takes; name it: PATHLIGHT_POOL=gpu"
            )
        for lane in self.served_lanes:
            if lane not in ("interactive", "bulk"):
                raise InvalidSetting(f"PATHLIGHT_POOL_LANES={self.pool_lanes!r} must be interactive or bulk")

    def _check_together(self) -> None:
        """Settings of which one depends on another."""
        if self.blob_grace_seconds < 2 * self.lease_seconds:
            raise InvalidSetting(
                f"PATHLIGHT_BLOB_GRACE_SECONDS={self.blob_grace_seconds} must be at least twice "
                f"PATHLIGHT_LEASE_SECONDS={self.lease_seconds}: a worker may hold a result for that long"
            )
        if self.event_streams * 2 > self.web_threads:
            raise InvalidSetting(
                f"PATHLIGHT_EVENT_STREAMS={self.event_streams} must leave half of "
                f"PATHLIGHT_WEB_THREADS={self.web_threads} to other requests"
            )

    def to_environment(self) -> dict[str, str]:
        """The variables from which `load` rebuilds this record, for child processes."""
        return {variable(f.name): str(getattr(self, f.name)) for f in fields(self) if str(getattr(self, f.name))}

    @property
    def is_public(self) -> bool:
        """Whether others than this machine's own people may reach the server."""
        return self.host not in LOOPBACK or self.proxy_hops > 0 or not set(self._named_hosts) <= set(LOOPBACK)

    @property
    def keys_required(self) -> bool:
        """Whether every request needs an API key; where not, one from elsewhere than this machine still may."""
        return self.keys == "required" or (self.keys == "auto" and self.is_public)

    @property
    def hosts(self) -> list[str]:
        """The names that a request may call the server by; empty: any."""
        return self._named_hosts if self._named_hosts or self.is_public else ["127.0.0.1", "localhost"]

    @property
    def _named_hosts(self) -> list[str]:
        return list(_listed(self.trusted_hosts))

    @property
    def embedded(self) -> bool:
        return not self.redis_url

    @property
    def redis_socket(self) -> Path:
        """The embedded server's socket: in the state directory, or at a short path where that one is too long."""
        direct = self.home / "redis" / "redis.sock"
        if len(os.fsencode(direct)) <= LONGEST_SOCKET_PATH:
            return direct
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"pathlight-{os.getuid()}-{digest}" / "redis.sock"

    @property
    def store_url(self) -> str:
        """Address for redis-py."""
        return f"unix://{self._quoted_socket}" if self.embedded else self.redis_url

    @property
    def broker_url(self) -> str:
        """Address for kombu, which has a scheme of its own for sockets, and which takes any server's certificate unless
        it is told not to."""
        url = self.store_url.replace("unix://", "redis+socket://", 1)
        if not url.startswith("rediss://") or "ssl_cert_reqs=" in url:
            return url
        return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"

    @property
    def _quoted_socket(self) -> str:
        return quote(os.fsencode(self.redis_socket))  # a folder's name may hold what means something in an address

    @property
    def allowed_ports(self) -> frozenset[int]:
        """Of addresses that strangers name."""
        return frozenset(map(int, self.outbound_ports.split(",")))

    @property
    def webhook_key(self) -> bytes:
        """What webhooks are signed with."""
        return _key_of(self.webhook_secret)

    @property
    def served_models(self) -> tuple[str, ...]:
        """Those whose jobs this worker takes; empty: every model's."""
        return _listed(self.pool_models)

    @property
    def served_lanes(self) -> tuple[str, ...]:
        """Those whose jobs this worker takes; empty: of both."""
        return _listed(self.pool_lanes)

    @property
    def blobs(self) -> Path:
        return self.home / "blobs"

    @property
    def cache(self) -> Path:
        """Fetched weights, by model name."""
        return self.home / "models"

    @property
    def own_models(self) -> Path:
        """The file that declares models of one's own."""
        return Path(self.models_file).absolute() if self.models_file else self.home / "models.toml"

    @property
    def registry(self) -> Path:
        """Cards of models that do not ship, by model name, each with its weights."""
        return self.home / "registry"

    @property
    def default_models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in (self.classifier, self.tree_model) if name))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def variable(name: str) -> str:
    """The environment variable of a setting."""
    usual = {"redis_url": "REDIS_URL", "port": "PORT", "blobs_url": "PATHLIGHT_BLOBS"}
    return usual.get(name, f"PATHLIGHT_{name.upper()}")


def _check_redis_url(url: str) -> None:
    """An address that cannot be read is refused without repeating it: it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = (not url or parts.scheme in ("redis", "rediss", "unix")) and (parts.port or 0) >= 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidSetting(
            "REDIS_URL is not redis://, rediss:// or unix:// with a numeric port; "
            "percent-encode what is special in its user and password"
        )


def _check_webhook_secret(secret: str) -> None:
    """As with Redis's address: what is refused is not repeated."""
    try:
        strong = not secret or len(_key_of(secret)) >= SHORTEST_WEBHOOK_KEY
    except ValueError:
        strong = False
    if not strong:
        raise InvalidSetting(
            f"PATHLIGHT_WEBHOOK_SECRET is not {WEBHOOK_PREFIX} and at least {SHORTEST_WEBHOOK_KEY} bytes in base64; "
            f'make one with: echo "{WEBHOOK_PREFIX}$(openssl rand -base64 32)"'
        )


def _key_of(secret: str) -> bytes:
    if not secret.startswith(WEBHOOK_PREFIX):
        raise ValueError
    return base64.b64decode(secret.removeprefix(WEBHOOK_PREFIX), validate=True)


def _check_public_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    except ValueError:
        usable = False
    if url and not usable:
        raise InvalidSetting(f"PATHLIGHT_PUBLIC_URL={url!r} must be the site's address, as in https://example.org")


def _parse(key: str, text: str, kind: Any) -> Any:
    try:
        return _switch(text) if kind is bool else kind(text)
    except ValueError as error:
        raise InvalidSetting(f"{key}={text!r} is not a valid {kind.__name__}") from error


def _switch(text: str) -> bool:
    switches = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in switches:
        raise ValueError
    return switches[text.lower()]
