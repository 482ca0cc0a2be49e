"""The Kubernetes manifests agree with themselves, with the code and with the compose file. No cluster is needed."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.images.sandbox.decoders import MEMORY_BYTES
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore
from shared.store.keys import Scope
from tests.shared.test_pools import here
from tests.test_alerts import selectors
from tests.test_compose import OURS, PASSWORD, PROJECT, compose, final_stage
from web.api.batch_upload import UNPACKED_AT_ONCE
from web.app import create_app

BASE, S3 = REPOSITORY / "deploy" / "base", REPOSITORY / "deploy" / "s3"
APPS = ("web", "worker", "keeper", "sender", "fetcher")
SERVICES = ("redis", *APPS)
RELEASES = ("1.30.0", "1.37.0")  # of Kubernetes, whose schemas the manifests keep to
UNITS = {"Mi": 2**20, "Gi": 2**30}
Manifest = dict[str, Any]


@cache
def documents(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def everything() -> list[Manifest]:
    """What the kustomization names, in order."""
    (kustomization,) = documents(BASE / "kustomization.yaml")
    return [document for name in kustomization["resources"] for document in documents(BASE / name)]


def named(kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in everything() if one["kind"] == kind}


def pods() -> dict[str, Manifest]:
    """The template of each pod, by the name of who makes it."""
    made = named("Deployment") | named("StatefulSet")
    return {name: one["spec"]["template"] for name, one in made.items()}


def container(name: str) -> Manifest:
    (found,) = pods()[name]["spec"]["containers"]
    result: Manifest = found
    return result


def environment(name: str) -> dict[str, str]:
    """What the process finds, with the password put in as the kubelet does."""
    given = dict(named("ConfigMap")["pathlight"]["data"])
    for variable in container(name).get("env", ()):
        given[variable["name"]] = variable.get("value", PASSWORD).replace("$(REDIS_PASSWORD)", PASSWORD)
    return given


def settings_of(name: str, **changes: str) -> Settings:
    return Settings.load(environment(name) | changes)


def bytes_of(text: str) -> int:
    return int(text[:-2]) * UNITS[text[-2:]]


def probes(name: str) -> dict[str, Manifest]:
    return {key: value for key, value in container(name).items() if key.endswith("Probe")}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose(PATHLIGHT_REDIS_PASSWORD=PASSWORD)["services"]
    return found


@pytest.fixture
def client(store: JobStore) -> FlaskClient:
    """The web server as its pod has it, in front of a job store of ours."""
    settings = settings_of("web")
    assert settings.keys_required and settings.proxy_hops == 1
    bell, registry = Bell(make_celery(settings)), Registry.load(settings)
    return create_app(
        settings, store=store, blobs=BlobStore(Settings().blobs), bell=bell, registry=registry
    ).test_client()


# -- as Kubernetes has it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_every_manifest_keeps_to_the_schema_of_its_kind(release: str) -> None:
    bucket = documents(S3 / "network.yaml")
    for manifest in [one for one in everything() + bucket if not one["apiVersion"].startswith("keda.sh/")]:
        kubernetes_validate.validate(manifest, release, strict=True)


def test_a_manifest_with_a_field_that_there_is_not_would_be_found() -> None:
    manifest = deepcopy(named("Deployment")["worker"])
    manifest["spec"]["template"]["spec"]["containers"][0]["envfrom"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="envfrom"):
        kubernetes_validate.validate(manifest, RELEASES[-1], strict=True)


# -- as compose has it -------------------------------------------------------------------------------------------------


def test_every_file_is_named_and_every_service_of_compose_is_there() -> None:
    (kustomization,) = documents(BASE / "kustomization.yaml")
    assert {*kustomization["resources"], "kustomization.yaml"} == {path.name for path in BASE.iterdir()}
    assert pods().keys() == set(SERVICES)
    assert kustomization["images"] == [{"name": "pathlight", "newTag": PROJECT["project"]["version"]}]


@pytest.mark.parametrize("name", APPS)
def test_a_pod_starts_what_compose_starts_with_settings_that_the_code_reads(
    services: dict[str, Any], name: str
) -> None:
    assert container(name)["command"] == services[name]["command"] and container(name)["image"] == "pathlight"
    assert environment(name).keys() - {"REMAP_SIGTERM", "REDIS_PASSWORD"} <= OURS
    given, wanted = settings_of(name), Settings.load({k: str(v) for k, v in services[name]["environment"].items()})
    for field in ("store_url", "home", "concurrency", "durability", "redis_memory_bytes"):
        assert getattr(given, field) == getattr(wanted, field)
    assert environment(name).get("REMAP_SIGTERM") == services[name]["environment"].get("REMAP_SIGTERM")


def test_redis_is_the_one_of_compose(services: dict[str, Any]) -> None:
    redis, shell = container("redis"), services["redis"]["entrypoint"]
    assert (redis["image"], redis["command"], redis["workingDir"]) == (services["redis"]["image"], shell, "/data")
    (script,) = redis["args"]
    for name in ("PATHLIGHT_DURABILITY", "PATHLIGHT_REDIS_MEMORY_BYTES"):
        script = script.replace(f"${name}", environment("web")[name])
    (wanted,) = services["redis"]["command"]
    assert script.split() == wanted.split()


def test_who_must_be_alone_is_alone_and_webhooks_are_sent_only_where_the_operator_wants_them() -> None:
    made = named("Deployment")
    assert (made["keeper"]["spec"]["replicas"], made["keeper"]["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert named("StatefulSet")["redis"]["spec"]["replicas"] == 1
    assert made["sender"]["spec"]["replicas"] == 0 and not settings_of("sender").webhook_secret
    assert made["fetcher"]["spec"]["replicas"] == 0


# -- autoscaling -------------------------------------------------------------------------------------------------------


def test_workers_are_multiplied_by_what_waits_for_them_within_bounds() -> None:
    (scaler,) = (one["spec"] for one in everything() if one["kind"] == "ScaledObject")
    (access,) = (one for one in everything() if one["kind"] == "TriggerAuthentication")
    assert scaler["scaleTargetRef"] == {"name": "worker"}, "a Deployment, where no kind is named"
    assert "replicas" not in named("Deployment")["worker"]["spec"], "the autoscaler has the say"
    assert 1 <= scaler["minReplicaCount"] < scaler["maxReplicaCount"] <= 10
    assert scaler["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleUp"]["policies"]
    assert [trigger["metricType"] for trigger in scaler["triggers"]] == ["Value", "AverageValue"]
    for trigger in scaler["triggers"]:
        assert trigger["type"] == "metrics-api" and float(trigger["metadata"]["targetValue"]) > 0
        assert trigger["authenticationRef"]["name"] == access["metadata"]["name"]
    ((secret,),) = (access["spec"].values(),)
    assert secret[0]["parameter"] == "apiKey", "as the trigger calls it"
    head = (BASE / "kustomization.yaml").read_text("utf-8")
    assert f"create secret generic {secret[0]['name']} --from-literal={secret[0]['key']}=" in head


def test_the_autoscaler_reads_what_the_web_server_tells(client: FlaskClient, store: JobStore) -> None:
    (scaler,) = (one["spec"] for one in everything() if one["kind"] == "ScaledObject")
    here(store, settings_of("worker"), "worker@here")
    _, token = store.keys.create("autoscaler", [Scope.ADMIN])
    for trigger in scaler["triggers"]:
        asked, url = trigger["metadata"], urlsplit(trigger["metadata"]["url"])
        service, namespace, _ = url.netloc.split(".")
        (kustomization,) = documents(BASE / "kustomization.yaml")
        assert service in named("Service") and namespace == kustomization["namespace"] and url.scheme == "http"
        assert (asked["format"], asked["authMode"], asked["method"]) == ("prometheus", "apiKey", "header")
        answer = client.get(url.path, headers={"Host": url.netloc, asked["keyParamName"]: token})
        assert answer.status_code == 200
        ((name, labels),) = selectors(asked["valueLocation"])
        families = text_string_to_metric_families(answer.text)
        found = [s for f in families for s in f.samples if s.name == name and labels.items() <= s.labels.items()]
        assert len(found) == 1 and labels["queue"] in container("worker")["command"], asked["valueLocation"]


# -- names meet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_pod_mounts_asks_for_and_is_selected_by_is_there(name: str) -> None:
    pod, spec = pods()[name], (named("Deployment") | named("StatefulSet"))[name]["spec"]
    assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    claimed = {one["metadata"]["name"] for one in spec.get("volumeClaimTemplates", ())}
    volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
    assert {one["name"] for one in container(name)["volumeMounts"]} == volumes.keys() | claimed
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in named("PersistentVolumeClaim")
    for source in container(name).get("envFrom", ()):
        assert source.get("secretRef", {}).get("optional") or source["configMapRef"]["name"] in named("ConfigMap")
    for variable in container(name)["env"]:
        reference = variable.get("valueFrom", {}).get("configMapKeyRef")
        assert reference is None or reference["key"] in named("ConfigMap")[reference["name"]]["data"]


def test_the_services_lead_to_ports_that_are_listened_on() -> None:
    for name, service in named("Service").items():
        (port,) = service["spec"]["ports"]
        (listened,) = container(name)["ports"]
        assert service["spec"]["selector"].items() <= pods()[name]["metadata"]["labels"].items()
        assert port["targetPort"] == listened["name"]
    assert "0.0.0.0:8000" in container("web")["command"] and container("web")["ports"][0]["containerPort"] == 8000
    assert settings_of("web").store_url.endswith("@redis:6379/0")


def test_everybody_shares_the_volume_where_their_settings_look() -> None:
    for name in APPS:
        mounts = {one["name"]: one["mountPath"] for one in container(name)["volumeMounts"]}
        assert mounts == {"home": str(settings_of(name).home), "tmp": "/tmp"}
    assert named("PersistentVolumeClaim")["home"]["spec"]["accessModes"] == ["ReadWriteMany"]


# -- health ------------------------------------------------------------------------------------------------------------


def test_the_web_server_is_asked_for_routes_that_answer_by_a_name_that_it_has(client: FlaskClient) -> None:
    assert probes("web").keys() == {"startupProbe", "livenessProbe", "readinessProbe"}
    for kind, probe in probes("web").items():
        (header,) = probe["httpGet"]["httpHeaders"]
        answer = client.get(probe["httpGet"]["path"], headers={header["name"]: header["value"]})
        assert answer.status_code == (503 if kind == "readinessProbe" else 200), "no worker is here"
        assert probe["httpGet"]["port"] == container("web")["ports"][0]["name"]


@pytest.mark.parametrize("name", ["worker", "keeper", "sender"])
def test_celery_is_asked_as_compose_asks_and_has_time_to_give_its_jobs_back(
    services: dict[str, Any], name: str
) -> None:
    (probe,) = probes(name).values()
    kind, *wanted = services[name]["healthcheck"]["test"]
    assert kind == "CMD" and probe["exec"]["command"] == wanted
    patience = make_celery(settings_of(name)).conf.worker_soft_shutdown_timeout
    assert pods()[name]["spec"]["terminationGracePeriodSeconds"] >= patience + 10


# -- walls -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_pod_may_do_no_more_than_it_must(services: dict[str, Any], name: str) -> None:
    spec, of_pod = pods()[name]["spec"], pods()[name]["spec"]["securityContext"]
    assert of_pod["runAsNonRoot"] is True and of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    (user,) = (rest for word, rest in final_stage() if word == "USER")
    assert f"{of_pod['runAsUser']}:{of_pod['runAsGroup']}" == services[name].get("user", user)
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(spec)
    assert container(name)["resources"]["limits"].keys() == {"cpu", "memory"}


def test_there_is_room_for_decoders_at_their_limit_and_for_rewriting_the_append_only_file() -> None:
    settings = settings_of("web")
    (tmp,) = (one["emptyDir"] for one in pods()["web"]["spec"]["volumes"] if one["name"] == "tmp")
    decoders = (2 + UNPACKED_AT_ONCE) * MEMORY_BYTES
    assert bytes_of(container("web")["resources"]["limits"]["memory"]) > decoders + bytes_of(tmp["sizeLimit"])
    assert bytes_of(container("redis")["resources"]["limits"]["memory"]) >= 2 * settings.redis_memory_bytes


def test_only_redis_is_reached_by_ours_and_only_the_web_server_by_others() -> None:
    policies = {name: one["spec"] for name, one in named("NetworkPolicy").items()}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert [name for name in policies if "ingress" in policies[name]] == ["redis", "web"]
    assert policies["web"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8000}]}]
    ((source,),) = (one["from"] for one in policies["redis"]["ingress"])
    ours = {name for name, pod in pods().items() if chosen(pod, source["podSelector"])}
    assert (
        ours == set(APPS) == {name for name, pod in pods().items() if chosen(pod, policies["pathlight"]["podSelector"])}
    )
    to_redis, to_names = policies["pathlight"]["egress"]
    assert chosen(pods()["redis"], to_redis["to"][0]["podSelector"])
    assert {port["port"] for port in (*to_redis["ports"], *to_names["ports"])} == {6379, 53}


@pytest.mark.parametrize("who", ["sender", "fetcher"])
def test_only_sender_and_fetcher_reach_the_internet_and_no_private_network(who: str) -> None:
    policies = {name: one["spec"] for name, one in named("NetworkPolicy").items() if "egress" in one["spec"]}
    assert policies.keys() == {"pathlight", "sender", "fetcher"}
    assert [name for name, pod in pods().items() if chosen(pod, policies[who]["podSelector"])] == [who]
    (out,) = policies[who]["egress"]
    assert {port["port"] for port in out["ports"]} == settings_of(who).allowed_ports
    blocks = [place["ipBlock"] for place in out["to"]]
    reached = {
        address
        for address in ("1.1.1.1", "2606:4700::1111", "10.1.2.3", "172.31.0.1", "192.168.0.1", "169.254.169.254")
        for block in blocks
        if ip_address(address) in ip_network(block["cidr"])
        and not any(ip_address(address) in ip_network(hole) for hole in block.get("except", ()))
    }
    assert reached == {"1.1.1.1", "2606:4700::1111"}


def chosen(pod: Manifest, selector: Manifest) -> bool:
    wanted: dict[str, str] = selector["matchLabels"]
    labels: dict[str, str] = pod["metadata"]["labels"]
    return wanted.items() <= labels.items()


# -- with a bucket -----------------------------------------------------------------------------------------------------


def patches() -> Iterator[tuple[Manifest, Any]]:
    (kustomization,) = documents(S3 / "kustomization.yaml")
    for patch in kustomization["patches"]:
        yield patch, yaml.safe_load(patch["patch"])


def test_the_variant_with_a_bucket_changes_what_there_is() -> None:
    (kustomization,) = documents(S3 / "kustomization.yaml")
    assert kustomization["resources"] == ["../base", "network.yaml"]
    (_, settings), (_, volume), (patch, operations) = patches()
    assert settings["metadata"]["name"] in named("ConfigMap")
    others = {name: text for name, text in settings["data"].items() if not name.startswith("AWS_")}
    assert settings_of("web", **others).blobs_url == "s3://pathlight/blobs"
    assert volume["$patch"] == "delete" and volume["metadata"]["name"] in named("PersistentVolumeClaim")
    assert patch["target"] == {"kind": "Deployment"}
    for name in APPS:
        first, *_ = pods()[name]["spec"]["volumes"]
        assert (
            operations[0]["path"] == "/spec/template/spec/volumes/0" and operations[0]["value"]["name"] == first["name"]
        )
        assert operations[1]["path"] == "/spec/template/spec/containers/0/envFrom/-" and "envFrom" in container(name)
    assert "s3" in PROJECT["project"]["optional-dependencies"]
