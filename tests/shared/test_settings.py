"""Settings: read from an environment and nothing else, checked, and handed on whole."""

from __future__ import annotations

import os
import re
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import InvalidSetting
from shared.settings import LONGEST_SOCKET_PATH, Settings

HOME = Path("/somewhere/state")


KEYS = {"redis_url": "REDIS_URL", "port": "PORT", "blobs_url": "PATHLIGHT_BLOBS"}
OTHERS = {
    "blobs_url": "s3://bucket/prefix",
    "pool": "gpu",
    "pool_models": "one,two",
    "pool_lanes": "bulk",
    "redis_url": "redis://elsewhere:7777/3",
    "durability": "always",
    "log_format": "json",
    "keys": "required",
    "outbound_ports": "80,443,8080",
    "webhook_secret": "whsec_" + "A" * 32,
    "signing_key": "k" * 32,
    "precision": "bf16",
    "public_url": "https://example.org/pathlight",
}


def other_value(name: str, value: object) -> Any:
    """A value of the same kind that is not the default."""
    match value:
        case Path():
            return HOME
        case str():
            return OTHERS.get(name, "another")
        case bool():
            return not value
        case float():
            return value + 0.125
        case int():
            return value + 1
    raise AssertionError(value)


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.load({}) == Settings()


def test_every_setting_survives_the_way_through_an_environment() -> None:
    given = Settings()
    for field in fields(Settings):
        given = replace(given, **{field.name: other_value(field.name, getattr(given, field.name))})
    assert all(getattr(given, field.name) != getattr(Settings(), field.name) for field in fields(Settings))
    environment = given.to_environment()
    assert Settings.load(environment) == given
    assert all(isinstance(text, str) for text in environment.values())
    assert Settings.load(Settings().to_environment()) == Settings()


def test_each_setting_has_its_own_variable() -> None:
    for field in fields(Settings):
        before = Settings(pool="cpu") if field.name.startswith("pool_") else Settings()
        changed = replace(before, **{field.name: other_value(field.name, getattr(before, field.name))})
        difference = dict(changed.to_environment().items() - before.to_environment().items())
        (key,) = difference
        assert key == KEYS.get(field.name, f"PATHLIGHT_{field.name.upper()}")
        assert Settings.load(before.to_environment() | difference) == changed


def test_the_process_environment_is_the_default_and_strangers_in_it_are_no_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATHLIGHT_BATCH_SIZE", "3")
    monkeypatch.setenv("PATHLIGHT_UNHEARD_OF", "x")
    assert Settings.load().batch_size == 3


def test_an_empty_variable_counts_as_absent() -> None:
    assert Settings.load({"PORT": "", "REDIS_URL": "", "PATHLIGHT_HOME": ""}) == Settings()


@pytest.mark.parametrize(
    ("key", "text", "sentence"),
    [
        ("PORT", "http", "PORT='http' is not a valid int"),
        ("PORT", "80.5", "PORT='80.5' is not a valid int"),
        ("PORT", "65536", "PORT=65536 is not a port number"),
        ("PORT", "-1", "PORT=-1 is not a port number"),
        ("PATHLIGHT_IMAGE_URL", "perhaps", "PATHLIGHT_IMAGE_URL='perhaps' is not a valid bool"),
        ("PATHLIGHT_OUTBOUND_PORTS", "http", "PATHLIGHT_OUTBOUND_PORTS='http' must be port numbers, as in 80,443"),
        ("PATHLIGHT_BATCH_SIZE", "many", "PATHLIGHT_BATCH_SIZE='many' is not a valid int"),
        ("PATHLIGHT_BATCH_SIZE", "0", "PATHLIGHT_BATCH_SIZE=0 must be above zero"),
        ("PATHLIGHT_CONCURRENCY", "0", "PATHLIGHT_CONCURRENCY=0 must be above zero"),
        ("PATHLIGHT_MAX_ATTEMPTS", "0", "PATHLIGHT_MAX_ATTEMPTS=0 must be above zero"),
        ("PATHLIGHT_LEASE_SECONDS", "soon", "PATHLIGHT_LEASE_SECONDS='soon' is not a valid float"),
        ("PATHLIGHT_LEASE_SECONDS", "0", "PATHLIGHT_LEASE_SECONDS=0.0 must be above zero"),
        (
            "PATHLIGHT_LEASE_SECONDS",
            "nan",
            "PATHLIGHT_LEASE_SECONDS=nan must be a finite number and not negative",
        ),
        ("PATHLIGHT_REAP_SECONDS", "0", "PATHLIGHT_REAP_SECONDS=0.0 must be above zero"),
        (
            "PATHLIGHT_RETENTION_SECONDS",
            "inf",
            "PATHLIGHT_RETENTION_SECONDS=inf must be a finite number and not negative",
        ),
        (
            "PATHLIGHT_DEADLINE_SECONDS",
            "-1",
            "PATHLIGHT_DEADLINE_SECONDS=-1.0 must be a finite number and not negative",
        ),
        ("PATHLIGHT_IMAGE_BYTES", "-1", "PATHLIGHT_IMAGE_BYTES=-1 must be a finite number and not negative"),
        ("PATHLIGHT_DURABILITY", "often", "PATHLIGHT_DURABILITY='often' must be everysec or always"),
        (
            "PATHLIGHT_PUBLIC_URL",
            "example.org",
            "PATHLIGHT_PUBLIC_URL='example.org' must be the site's address, as in https://example.org",
        ),
        ("PATHLIGHT_WEBHOOK_ATTEMPTS", "0", "PATHLIGHT_WEBHOOK_ATTEMPTS=0 must be above zero"),
        ("PATHLIGHT_KEYS", "on", "PATHLIGHT_KEYS='on' must be auto, required or off"),
    ],
)
def test_a_bad_value_names_key_and_value(key: str, text: str, sentence: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings.load({key: text})
    assert str(caught.value) == sentence


def test_settings_made_by_hand_are_checked_too() -> None:
    with pytest.raises(InvalidSetting, match="PATHLIGHT_BATCH_SIZE=-1"):
        Settings(batch_size=-1)
    with pytest.raises(InvalidSetting, match="PATHLIGHT_DURABILITY=''"):
        replace(Settings(), durability="")


@pytest.mark.parametrize(
    "exposed", [{"host": "0.0.0.0"}, {"host": "192.0.2.7"}, {"proxy_hops": 1}, {"trusted_hosts": "example.org"}]
)
def test_a_server_that_others_reach_cannot_do_without_keys(exposed: dict[str, Any]) -> None:
    assert Settings(**exposed).is_public
    with pytest.raises(InvalidSetting, match="would let everybody in.*pathlight keys create"):
        Settings(keys="off", **exposed)
    assert not Settings(keys="off").is_public


def test_a_server_on_loopback_is_called_by_its_own_names_only() -> None:
    assert Settings().hosts == ["127.0.0.1", "localhost"]
    assert Settings(host="0.0.0.0").hosts == []
    assert Settings(trusted_hosts="a.example.org, b.example.org").hosts == ["a.example.org", "b.example.org"]


@pytest.mark.parametrize("url", ["redis://:sec/ret@host:6379", "redis://:sec#ret@host:x", "http://:secret@host", "se"])
def test_an_address_of_redis_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidSetting, match="REDIS_URL is not.*percent-encode") as caught:
        Settings(redis_url=url)
    assert not re.search("sec|ret|host", str(caught.value))


@pytest.mark.parametrize("secret", ["AAAA" * 8, "whsec_", "whsec_AAAA", "whsec_not/base64!", "whsec_" + "A" * 31])
def test_a_weak_webhook_secret_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(InvalidSetting, match="PATHLIGHT_WEBHOOK_SECRET is not.*openssl rand") as caught:
        Settings(webhook_secret=secret)
    assert "AAAA" not in str(caught.value) and "not/base64" not in str(caught.value)


def test_settings_can_be_shown_without_their_secrets() -> None:
    assert "secret" not in repr(Settings(redis_url="redis://:secret@host"))
    assert "A" * 32 not in repr(Settings(webhook_secret="whsec_" + "A" * 32))


def test_a_short_signing_key_is_refused_and_none_is_ever_shown() -> None:
    with pytest.raises(InvalidSetting, match="PATHLIGHT_SIGNING_KEY must have at least 32.*openssl rand") as caught:
        Settings.load({"PATHLIGHT_SIGNING_KEY": "s" * 31})
    assert "sss" not in str(caught.value)
    assert "sss" not in repr(Settings.load({"PATHLIGHT_SIGNING_KEY": "s" * 32}))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_the_home_is_the_same_folder_wherever_a_child_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=Path("state"))
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "state"
    assert Settings.load(settings.to_environment()).blobs == tmp_path / "state/blobs"


@pytest.mark.parametrize("name", ["x" * 200, "ü" * 60, "/".join(["deep"] * 40)], ids=["long", "umlauts", "deep"])
def test_a_long_home_has_its_socket_at_a_short_path_of_its_own(name: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / name)
    other = Settings(home=tmp_path / (name + "y"))
    for path in (settings.redis_socket, other.redis_socket):
        assert len(os.fsencode(path)) <= LONGEST_SOCKET_PATH
        assert str(os.getuid()) in path.parent.name
    assert settings.redis_socket != other.redis_socket
    assert Settings(home=tmp_path / name).redis_socket == settings.redis_socket


def test_a_short_home_holds_its_socket_and_the_bound_is_on_bytes() -> None:
    assert Settings(home=HOME).redis_socket == HOME / "redis/redis.sock"
    rest = len("/" + "/redis/redis.sock")
    longest = Settings(home=Path("/" + "x" * (LONGEST_SOCKET_PATH - rest)))
    assert longest.redis_socket.is_relative_to(longest.home)
    too_long = Settings(home=Path(f"{longest.home}x"))
    assert not too_long.redis_socket.is_relative_to(too_long.home)
    two_bytes_each = Settings(home=Path("/" + "ü" * 45))
    assert not two_bytes_each.redis_socket.is_relative_to(two_bytes_each.home)


def test_the_addresses_lead_to_the_embedded_server_or_to_the_one_that_is_named() -> None:
    embedded = Settings(home=HOME)
    assert embedded.embedded
    assert embedded.store_url == "unix:///somewhere/state/redis/redis.sock"
    assert embedded.broker_url == "redis+socket:///somewhere/state/redis/redis.sock"
    named = Settings(home=HOME, redis_url="redis://elsewhere:7777/3")
    assert not named.embedded
    assert named.store_url == named.broker_url == "redis://elsewhere:7777/3"


def test_over_tls_celery_too_checks_whose_certificate_it_is() -> None:
    for url, query in (("rediss://h:1/0", "?"), ("rediss://h:1/0?ssl_ca_certs=/ca.pem", "?ssl_ca_certs=/ca.pem&")):
        settings = Settings(redis_url=url)
        assert settings.store_url == url
        assert settings.broker_url == f"rediss://h:1/0{query}ssl_cert_reqs=required"
    assert Settings(redis_url="rediss://h:1/0?ssl_cert_reqs=none").broker_url.endswith("ssl_cert_reqs=none")


def test_what_means_something_in_an_address_is_written_otherwise() -> None:
    odd = Settings(home=Path("/a b#c?d%20e"))
    assert odd.store_url == "unix:///a%20b%23c%3Fd%2520e/redis/redis.sock"
    assert odd.broker_url == "redis+socket:///a%20b%23c%3Fd%2520e/redis/redis.sock"


def test_the_places_lie_in_the_home() -> None:
    settings = Settings(home=HOME)
    assert (settings.blobs, settings.cache) == (HOME / "blobs", HOME / "models")


def test_the_default_models_are_the_configured_ones_each_once() -> None:
    assert Settings(classifier="a", tree_model="b").default_models == ("a", "b")
    assert Settings(classifier="a", tree_model="a").default_models == ("a",)
    assert Settings(classifier="a", tree_model="").default_models == ("a",)


@pytest.mark.parametrize("url", ["bucket", "https://bucket", "s3://", "s3://B", "s3://bucket/../other", "s3://b/x?y"])
def test_an_address_of_blobs_that_is_none_is_named(url: str) -> None:
    with pytest.raises(InvalidSetting, match="^PATHLIGHT_BLOBS=.* must be s3://bucket or s3://bucket/prefix$"):
        Settings.load({"PATHLIGHT_BLOBS": url})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"PATHLIGHT_POOL": "GPU!"}, "PATHLIGHT_POOL='GPU!'"),
        ({"PATHLIGHT_POOL_MODELS": "a"}, "name it: PATHLIGHT_POOL=gpu"),
        ({"PATHLIGHT_POOL": "gpu", "PATHLIGHT_POOL_LANES": "slow"}, "PATHLIGHT_POOL_LANES='slow'"),
    ],
)
def test_a_pool_is_named_and_takes_from_lanes_that_there_are(given: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(named)):
        Settings.load(given)
