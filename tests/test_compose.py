"""The container files agree with the code. No engine is needed: the files are read, and what they start is started."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli import embedded
from cli.run import fetcher_command, web_command
from shared.blobs.blob_store import BlobStore
from shared.broker import DELIVER_QUEUE, DRAIN_QUEUE, FETCH_QUEUE, KEEP_QUEUE, Bell, make_celery
from shared.cards.card import Registry
from shared.images.sandbox.decoders import MEMORY_BYTES
from shared.jobs import ImageRecord, JobOptions, JobStatus
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore, Role, Submission
from tests.conftest import wait_for
from web.api.batch_upload import UNPACKED_AT_ONCE
from web.app import create_app

PASSWORD = "0123456789abcdef"
APPS = ("web", "worker", "keeper", "sender", "fetcher")
SERVICES = ("redis", *APPS)
OURS = (
    Settings(
        redis_url="redis://",
        trusted_hosts="localhost",
        webhook_secret="whsec_" + "A" * 32,
        public_url="https://example.org",
        signing_key="k" * 32,
    )
    .to_environment()
    .keys()
)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
# The first release of each line without the Lua flaws of 2025; later lines began without them.
OLDEST_REDIS = {(7, 2): (7, 2, 11), (7, 4): (7, 4, 6), (8, 0): (8, 0, 4), (8, 2): (8, 2, 2)}


def compose(**environment: str) -> dict[str, Any]:
    """docker-compose.yml as the engine gets it, with its variables taken from `environment`."""
    text = (REPOSITORY / "docker-compose.yml").read_text("utf-8")
    document: dict[str, Any] = resolved(yaml.safe_load(text), environment)
    return document


def resolved(node: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: resolved(value, environment) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved(value, environment) for value in node]
    return re.sub(r"\$(?:\$|\{(\w+):([-?])([^}]*)\})", _variable(environment), node) if isinstance(node, str) else node


def _variable(environment: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
    def value(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if name is None:
            return "$"
        if kind == "?" and not environment.get(name):
            raise LookupError(f"{name}: {text}")
        return environment.get(name) or text

    return value


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line)]


def final_stage() -> list[tuple[str, str]]:
    """What makes up the image that runs: its own stage and the base under it."""
    stages: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    assert stages[0][0][1].endswith(" AS base") and stages[-1][0] == ("FROM", "base")
    return stages[0] + stages[-1]


def in_image(name: str) -> str:
    """The value of a variable that the image sets."""
    text = " ".join(rest for word, rest in final_stage() if word == "ENV")
    return dict(pair.split("=", 1) for pair in shlex.split(text))[name]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of the build: its last line that matches decides."""
    verdict = False
    for line in (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines():
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if line and line[0] != "#" and re.fullmatch(f"{pattern}(/.*)?", path):
            verdict = line[0] != "!"
    return verdict


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def megabytes(text: str) -> int:
    return int(text[:-1]) * {"m": 1, "g": 1024}[text[-1]]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose(PATHLIGHT_REDIS_PASSWORD=PASSWORD)["services"]
    return found


@dataclass
class House:
    """The services as processes of this machine: the compose file's own commands, checks and environments.

    Redis and web get free ports, all share a folder instead of the volumes.
    """

    services: dict[str, Any]
    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {"redis:6379": _free_port(), "0.0.0.0:8000": _free_port()}
        server, _ = embedded.find_server()
        port = self.ports["redis:6379"]
        self._put("redis-server", f'exec {server} "$@" --port {port} --bind 127.0.0.1 --dir {self.folder}')
        self._put("redis-cli", f'exec {server.with_name("redis-cli")} -p {port} "$@"')
        self._put("python", f'exec {sys.executable} "$@"')

    @property
    def redis_url(self) -> str:
        return self.environment("worker")["REDIS_URL"]

    def environment(self, name: str, **changes: str) -> dict[str, str]:
        given = {key: self._here(str(value)) for key, value in self.services[name]["environment"].items()}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"} | given | changes

    def start(self, name: str) -> None:
        service = self.services[name]
        self.running[name] = subprocess.Popen(
            [self._here(part) for part in (*service.get("entrypoint", ()), *service["command"])],
            env=self.environment(name),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start_and_wait(self, name: str) -> None:
        self.start(name)
        wait_for(lambda: self.running[name].poll() is not None or self.healthy(name), seconds=60, pause=0.2)
        assert self.running[name].poll() is None, f"{name} ended at once"

    def healthy(self, name: str, **changes: str) -> bool:
        """Run the service's health check."""
        kind, *test = (self._here(part) for part in self.services[name]["healthcheck"]["test"])
        command = ["/bin/sh", "-c", *test] if kind == "CMD-SHELL" else test
        environment = self.environment(name, **changes)
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0

    def stop(self, name: str) -> None:
        """As the engine stops a container: a request, the grace period, the end."""
        process = self.running[name]
        process.send_signal(signal.SIGTERM)
        process.wait(int(self.services[name].get("stop_grace_period", "10s").removesuffix("s")))

    def end(self) -> None:
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _here(self, text: str) -> str:
        for there, port in self.ports.items():
            text = text.replace(there, f"127.0.0.1:{port}")
        web = self.ports["0.0.0.0:8000"]
        return text.replace("127.0.0.1:8000", f"127.0.0.1:{web}").replace("/var/lib/pathlight", str(self.folder))

    def _put(self, name: str, line: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o700)


@pytest.fixture
def house(services: dict[str, Any], tmp_path: Path) -> Iterator[House]:
    house = House(services, tmp_path)
    try:
        yield house
    finally:
        house.end()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


# -- what the services start ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_service_comes_up_healthy_and_stops_within_its_grace_period(house: House) -> None:
    for name in SERVICES:
        assert not house.healthy(name), f"{name} is called healthy before it runs"
        house.start_and_wait(name)
    for name in reversed(SERVICES):
        house.stop(name)
        assert name not in ("redis", "web") or not house.healthy(name)


def test_the_web_server_runs_as_pathlight_run_starts_it_but_is_reached_from_outside(services: dict[str, Any]) -> None:
    assert services["web"]["command"][1:] == web_command(Settings(host="0.0.0.0", web_threads=24, event_streams=12))[1:]


def test_the_commands_name_what_the_code_has(services: dict[str, Any]) -> None:
    module, _, factory = services["web"]["command"][-1].partition(":")
    assert callable(getattr(importlib.import_module(module), factory.removesuffix("()")))
    for name in ("worker", "keeper", "sender", "fetcher"):
        assert isinstance(importlib.import_module(option(services[name]["command"], "--app")).app, Celery)


def test_worker_keeper_sender_and_fetcher_each_serve_one_queue_and_the_clock_ticks_in_the_keeper_alone(
    services: dict[str, Any],
) -> None:
    worker, keeper, sender, fetcher = (services[name]["command"] for name in APPS[1:])
    queues = [option(command, "--queues") for command in (worker, keeper, sender, fetcher)]
    assert queues == [DRAIN_QUEUE, KEEP_QUEUE, DELIVER_QUEUE, FETCH_QUEUE]
    assert "--beat" in keeper and "--beat" not in worker + sender + fetcher
    assert option(fetcher, "--max-tasks-per-child") == option(fetcher_command(), "--max-tasks-per-child")
    assert option(keeper, "--concurrency") == "1" and "scale" not in services["keeper"]
    assert "--concurrency" not in worker, "the setting decides"


def test_every_variable_is_one_that_the_settings_read(services: dict[str, Any]) -> None:
    for name in APPS:
        environment = {key: str(value) for key, value in services[name]["environment"].items()}
        assert environment.keys() - {"REMAP_SIGTERM"} <= OURS
        settings = Settings.load(environment)
        assert settings.store_url == settings.broker_url == f"redis://:{PASSWORD}@redis:6379/0"


def test_what_the_environment_does_not_give_is_as_the_settings_have_it(services: dict[str, Any]) -> None:
    settings, given = Settings(), Settings.load(services["web"]["environment"])
    for name in ("concurrency", "durability", "redis_memory_bytes"):
        assert getattr(given, name) == getattr(settings, name)
    assert services["web"]["ports"] == [f"127.0.0.1:{settings.port}:8000"]


def test_the_web_server_requires_keys_and_is_called_by_its_own_names(services: dict[str, Any]) -> None:
    given = Settings.load({name: str(value) for name, value in services["web"]["environment"].items()})
    assert given.keys_required and given.hosts == Settings().hosts and given.proxy_hops == 0


def test_celery_has_time_to_give_its_jobs_back_before_the_end(services: dict[str, Any]) -> None:
    patience = make_celery(Settings()).conf.worker_soft_shutdown_timeout
    for name in ("worker", "keeper", "sender"):
        assert services[name]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
        assert int(services[name]["stop_grace_period"].removesuffix("s")) >= patience + 10


# -- health --------------------------------------------------------------------------------------------------------


def test_the_check_of_the_web_server_asks_for_a_route_that_answers(services: dict[str, Any], store: JobStore) -> None:
    url = re.search(r"http://127\.0\.0\.1:8000(/\w+)", services["web"]["healthcheck"]["test"][-1])
    settings = Settings()
    app = create_app(
        settings,
        store=store,
        blobs=BlobStore(settings.blobs),
        bell=Bell(make_celery(settings)),
        registry=Registry.load(settings),
    )
    assert url is not None and url[1] in {rule.rule for rule in app.url_map.iter_rules()}
    assert app.test_client().get(url[1]).status_code == 200


def test_the_check_of_a_worker_hears_that_very_worker_and_only_lately(house: House, store: JobStore) -> None:
    here = {"REDIS_URL": Settings.load({"PATHLIGHT_HOME": str(house.folder / "home")}).store_url}
    store.heartbeat("worker@elsewhere")
    store.heartbeat(f"keeper@{socket.gethostname()}", role=Role.KEEPER)
    assert store.workers_heard() == 1 and not house.healthy("worker", **here)
    store.heartbeat(f"worker@{socket.gethostname()}")
    assert house.healthy("worker", **here)
    assert not house.healthy("worker", **here, PATHLIGHT_HEARTBEAT_SECONDS="0.000001")


def test_nothing_starts_before_redis_is_healthy(services: dict[str, Any]) -> None:
    for name in APPS:
        assert services[name]["depends_on"] == {"redis": {"condition": "service_healthy"}}


# -- Redis ---------------------------------------------------------------------------------------------------------


def test_redis_is_a_fixed_version_without_known_flaws_in_its_scripts(services: dict[str, Any]) -> None:
    match = re.fullmatch(r"redis:(\d+)\.(\d+)\.(\d+)(-[a-z]+)?", services["redis"]["image"])
    assert match is not None
    version = (int(match[1]), int(match[2]), int(match[3]))
    assert version >= OLDEST_REDIS.get(version[:2], (7, 2, 11))


def test_a_missing_password_is_named_before_anything_starts() -> None:
    with pytest.raises(LookupError, match="PATHLIGHT_REDIS_PASSWORD: set it to"):
        compose()


@pytest.mark.parametrize("durability", ["everysec", "always"])
def test_redis_keeps_what_the_embedded_server_keeps(durability: str) -> None:
    settings = Settings(durability=durability, redis_memory_bytes=2**28)
    variables = settings.to_environment() | {"PATHLIGHT_REDIS_PASSWORD": PASSWORD}
    wanted = embedded.configuration(settings).splitlines()
    places = ("port", "unixsocket", "unixsocketperm", "dir", "daemonize", "logfile", "user", "")
    lines = compose(**variables)["services"]["redis"]["command"][0].splitlines()
    assert {line for line in wanted if line.partition(" ")[0] not in places} <= set(lines)
    (embedded_user,) = (line for line in wanted if line.startswith("user "))
    (user,) = (line for line in lines if line.startswith("user "))
    assert {word for word in embedded_user.split() if word[0] == "-"} <= set(user.split())


def test_redis_lets_in_who_knows_the_password_and_nobody_changes_the_server(house: House) -> None:
    house.start_and_wait("redis")
    assert not house.healthy("redis", REDISCLI_AUTH="wrong")
    assert PASSWORD not in str(house.services["redis"]["command"]), "it would stand in the list of processes"
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=house.ports["redis:6379"], retry=once) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis.from_url(house.redis_url) as friend:
        for command in ("CONFIG GET maxmemory", "ACL LIST", "FLUSHALL", "RESTORE k 0 v"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                friend.execute_command(command)
        info = friend.info()
        assert (info["aof_enabled"], info["maxmemory_policy"]) == (1, "noeviction")
        assert info["maxmemory"] == Settings().redis_memory_bytes


def test_the_job_store_works_on_redis_as_compose_sets_it_up(house: House) -> None:
    house.start_and_wait("redis")
    store = JobStore.connect(Settings(redis_url=house.redis_url))
    job_id = store.submit(Submission(JobOptions(models=("m",)), ImageRecord("0" * 64, 1, 1, "PNG", "a.png")))
    assert [claim.id for claim in store.claim(1, claim_id="c")] == [job_id]
    assert store.get(job_id).status is JobStatus.RUNNING


# -- the walls around each container -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_no_more_than_it_must(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["init"] is service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}.isdisjoint(service)
    assert service["restart"] == "unless-stopped"
    assert service["pids_limit"] > 0 and service["cpus"] > 0 and megabytes(service["mem_limit"]) > 0
    (temporary,) = service["tmpfs"]
    assert temporary.startswith("/tmp:size=") and {"noexec", "nosuid"} < set(temporary.split(","))


def test_nobody_is_root(services: dict[str, Any]) -> None:
    (user,) = (rest for word, rest in final_stage() if word == "USER")
    assert all("user" not in services[name] for name in APPS), "the image's user counts"
    for ids in (user, services["redis"]["user"]):
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", ids)


def test_only_the_web_server_is_reached_from_outside_and_only_by_this_machine(services: dict[str, Any]) -> None:
    assert [name for name in SERVICES if "ports" in services[name]] == ["web"]
    assert all(port.startswith("127.0.0.1:") for port in services["web"]["ports"])
    networks = compose(PATHLIGHT_REDIS_PASSWORD=PASSWORD)["networks"]
    assert networks["private"]["internal"] is True
    beside = {"web": ["front"], "sender": ["out"], "fetcher": ["out"]}
    for name in SERVICES:
        assert services[name]["networks"] == ["private", *beside.get(name, [])]


def test_webhooks_are_sent_and_models_fetched_only_where_the_operator_wants_them(services: dict[str, Any]) -> None:
    profiles = {name: services[name]["profiles"] for name in SERVICES if "profiles" in services[name]}
    assert profiles == {"sender": ["webhooks"], "fetcher": ["fetch"]}
    assert not Settings.load({key: str(value) for key, value in services["web"]["environment"].items()}).webhook_secret


def test_workers_can_be_multiplied(services: dict[str, Any]) -> None:
    worker = services["worker"]
    assert {"container_name", "hostname", "ports", "scale"}.isdisjoint(worker)
    assert option(worker["command"], "--hostname").endswith("@%h"), "each is heard under a name of its own"


def test_all_but_redis_share_the_volume_where_their_settings_look(services: dict[str, Any]) -> None:
    mounts = {name: services[name]["volumes"] for name in SERVICES}
    assert all(mounts[name] == mounts["web"] != mounts["redis"] for name in APPS)
    (mount,) = mounts["web"]
    volume, _, target = mount.partition(":")
    assert compose(PATHLIGHT_REDIS_PASSWORD=PASSWORD)["volumes"].keys() == {volume, "redis"}
    for name in APPS:
        settings = Settings.load(services[name]["environment"])
        assert str(settings.home) == target == in_image("PATHLIGHT_HOME")
        assert Path(make_celery(settings).conf.beat_schedule_filename).is_relative_to(target), "the rest is read-only"


def test_there_is_room_for_decoders_at_their_limit_and_for_rewriting_the_append_only_file(
    services: dict[str, Any],
) -> None:
    for name, others, decoders in (("web", 800, 2 + UNPACKED_AT_ONCE), ("worker", 1700, 2)):
        size = re.search(r"size=(\w+)", services[name].get("tmpfs", ["size=0m"])[0])
        assert size is not None
        most = others + decoders * MEMORY_BYTES // 2**20 + megabytes(size[1])
        assert megabytes(services[name]["mem_limit"]) >= most
    assert megabytes(services["redis"]["mem_limit"]) * 2**20 >= 2 * Settings().redis_memory_bytes


# -- the image -----------------------------------------------------------------------------------------------------


def test_the_image_is_built_in_stages_on_one_fixed_version_of_python(services: dict[str, Any]) -> None:
    bases = [rest for word, rest in instructions() if word == "FROM"]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+ AS base", bases[0]) and bases[1:] == ["base AS build", "base"]
    for name in APPS:
        assert services[name]["image"] == f"pathlight:{PROJECT['project']['version']}"
        assert services[name]["build"] == {"context": ".", "args": {"PIP_EXTRA_INDEX_URL": ""}}
    assert ("ARG", "PIP_EXTRA_INDEX_URL=") in instructions()


def test_the_image_that_runs_holds_no_compiler_and_starts_without_a_script() -> None:
    stage = final_stage()
    assert not [rest for word, rest in stage if word == "RUN" and re.search("apt|gcc|build-essential|pip", rest)]
    assert not [rest for word, rest in stage if word in ("ENTRYPOINT", "ADD")]
    (command,) = (rest for word, rest in stage if word == "CMD")
    assert yaml.safe_load(command)[0] in PROJECT["project"]["scripts"]
    assert in_image("PYTHONDONTWRITEBYTECODE") == "1"


def test_all_that_is_copied_is_there_and_enters_the_build_and_no_package_is_missed() -> None:
    copies = [rest.split() for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    sources = [source for *sources, _ in copies for source in sources]
    assert [source for source in sources if not (REPOSITORY / source).exists() or ignored(source)] == []
    packages = {name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert set(sources) == {"pyproject.toml", "editable_only.py", "models", "client", *packages}
    assert ("WORKDIR", "/app") in final_stage() and ("COPY", "--from=build /app /app") in final_stage()


def test_the_dependencies_are_those_of_both_roles() -> None:
    (line,) = (rest for word, rest in instructions() if word == "RUN" and "tomllib" in rest)
    (command,) = re.findall(r'python (-c ".*") +>', line)
    listed = subprocess.run(
        [sys.executable, *shlex.split(command)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    extras = PROJECT["project"]["optional-dependencies"]
    assert listed.stdout.splitlines() == [*PROJECT["project"]["dependencies"], *extras["web"], *extras["worker"]]


@pytest.mark.parametrize(("extras", "named"), [("", ".[web,worker]"), ("s3", ".[web,worker,s3]")])
def test_the_image_has_both_roles_the_client_and_what_is_asked_for_more(extras: str, named: str) -> None:
    (line,) = (rest for word, rest in instructions() if word == "RUN" and "--editable" in rest)
    install, _, _ = line.partition(" && ")
    given = {"PATH": os.environ["PATH"], "EXTRAS": extras}
    words = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\n' {install}"], env=given, capture_output=True, text=True, check=True
    )
    assert words.stdout.split() == ["pip", "install", "--no-cache-dir", "--editable", "./client", "--editable", named]


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".env", ".venv/bin/python", ".pathlight/redis/redis.conf", ".pathlight/blobs/ab/abcd"),
        *(".pytest_cache/README.md", ".mypy_cache/3.11/a.json", ".ruff_cache/a", ".hypothesis/a"),
        *("tests/conftest.py", "tests/__pycache__/conftest.cpython-311.pyc", "worker/__pycache__/app.cpython-311.pyc"),
        *("pathlight.egg-info/PKG-INFO", "bench/out/load.json", "models/m/weights.safetensors.partial"),
        "client/build/lib/pathlight_client/contract.py",
    ],
)
def test_what_no_container_needs_stays_out_of_the_build(path: str) -> None:
    assert ignored(path)


@pytest.mark.parametrize(
    "pattern", ["worker/*.py", "client/*/*.py", "shared/store/scripts/*.lua", "web/templates/*", "models/*/*.json"]
)
def test_what_the_code_needs_enters_the_build(pattern: str) -> None:
    found = [str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob(pattern)]
    assert found and not [path for path in found if ignored(path)]
