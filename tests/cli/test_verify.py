"""`pathlight verify`: a bundle as the service gives it holds; whatever was done to it is found, and named."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shlex
import struct
import subprocess
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cli import verify
from cli.main import main
from shared.answer.answer import ModelIdentity, Provenance
from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.images.decode import Limits
from shared.images.masking import explained_picture, read_explained
from shared.manifest import MANIFEST, SIGNATURE, Manifest, sign
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded
from tests.documented import commands_of
from web.api.bundle import archive
from web.app import create_app
from worker.engine.model_cache import ModelCache
from worker.explain.answers import answer
from worker.explain.query import Query

KEY = "0123456789abcdef" * 2
MODEL = "nbdt-cifar10"
ORIGINAL = "0" * 64
Files = dict[str, bytes]


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Result]:
    """Write an archive and verify it, with a key if given."""
    runner = CliRunner()

    def run(data: bytes, *words: str, key: str = "", home: Path | None = None) -> Result:
        path = tmp_path / "bundle.zip"
        path.write_bytes(data)
        environment = {"PATHLIGHT_SIGNING_KEY": key, "PATHLIGHT_HOME": str(home or tmp_path / "elsewhere")}
        done = runner.invoke(main, ["verify", str(path), *words], env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert KEY not in done.output
        return done

    return run


def members() -> Files:
    """What a bundle holds, in small."""
    job = {"id": "job", "image": {"sha256": ORIGINAL}}
    return {
        "job.json": json.dumps(job).encode(),
        "artifacts/m.cam.npy": b"a map",
        "artifacts/picture.jpg": b"a picture",
    }


def with_manifest(files: Files, *, key: str = "") -> Files:
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = Manifest("job", ORIGINAL, hashes).to_bytes()
    return {**files, MANIFEST: manifest, **({SIGNATURE: sign(manifest, key=key)} if key else {})}


def zipped(files: Files) -> bytes:
    return b"".join(archive(files.items()))


def deflated(files: Files) -> bytes:
    """As another program packs them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return buffer.getvalue()


def files_of(bundle: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(bundle)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def refused(done: Result, words: str) -> None:
    assert done.exit_code == 1 and "FALSE" in done.output, done.output
    assert words in done.output


def test_a_whole_bundle_holds_with_and_without_a_signature(check: Callable[..., Result]) -> None:
    plain, signed = zipped(with_manifest(members())), zipped(with_manifest(members(), key=KEY))
    for data, key, words in (
        (plain, "", "it is not signed"),
        (signed, "", "its signature was not checked: set PATHLIGHT_SIGNING_KEY"),
        (signed, KEY, "it is signed by PATHLIGHT_SIGNING_KEY"),
    ):
        done = check(data, key=key)
        assert done.exit_code == 0, done.output
        assert "its 3 files are those of its manifest" in done.output and words in done.output
        assert "bundle.zip is verified" in done.output


def test_a_bundle_that_was_unpacked_and_packed_again_holds(check: Callable[..., Result]) -> None:
    again = dict(reversed(with_manifest(members(), key=KEY).items()))
    assert check(deflated(again), key=KEY).exit_code == 0


def test_a_changed_missing_or_added_file_is_named(check: Callable[..., Result]) -> None:
    whole = with_manifest(members())
    for name in members():
        refused(check(zipped({**whole, name: whole[name] + b"."})), f"'{name}' is not what its manifest says")
        lost = {other: data for other, data in whole.items() if other != name}
        refused(check(zipped(lost)), f"'{name}' is in its manifest, and missing")
    refused(check(zipped({**whole, "artifacts/more.npy": b""})), "'artifacts/more.npy' is not in its manifest")
    refused(check(zipped({**whole, "../outside": b""})), "'../outside' is not in its manifest")
    refused(check(zipped(members())), "it has no manifest.json")


def test_who_changes_a_file_and_its_hash_is_found_by_the_signature(check: Callable[..., Result]) -> None:
    signed = with_manifest(members(), key=KEY)
    forged = with_manifest({**members(), "artifacts/m.cam.npy": b"another map"})
    assert check(zipped(forged)).exit_code == 0, "nobody can tell without a key"
    for signature in (
        signed[SIGNATURE],
        b"",
        b"hmac-sha256 " + b"0" * 64 + b"\n",
        sign(forged[MANIFEST], key=KEY[::-1]),
    ):
        refused(
            check(zipped({**forged, SIGNATURE: signature}), key=KEY), "its signature is not by PATHLIGHT_SIGNING_KEY"
        )
    refused(check(zipped(forged), key=KEY), "it is not signed, and PATHLIGHT_SIGNING_KEY is set")


def test_the_signature_is_of_the_manifest_s_exact_bytes(check: Callable[..., Result]) -> None:
    signed = with_manifest(members(), key=KEY)
    respaced = json.dumps(json.loads(signed[MANIFEST])).encode()
    refused(check(zipped({**signed, MANIFEST: respaced}), key=KEY), "its signature is not by")


def test_two_files_of_one_name_are_refused_whichever_of_them_is_right(check: Callable[..., Result]) -> None:
    whole = with_manifest(members())
    for twice in ([*whole.items(), ("job.json", b"{}")], [("job.json", b"{}"), *whole.items()]):
        with pytest.warns(UserWarning, match="Duplicate name"):
            data = b"".join(archive(twice))
        refused(check(data), "it has two files named 'job.json'")


def altered(data: bytes, name: str, **fields: int) -> bytes:
    """The archive with other fields in its list's entry for `name`."""
    at = data.rindex(name.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    places = {"flag_bits": (8, "<H"), "compress_type": (10, "<H"), "file_size": (24, "<I")}
    changed = bytearray(data)
    for field, value in fields.items():
        offset, kind = places[field]
        struct.pack_into(kind, changed, at + offset, value)
    return bytes(changed)


def test_what_is_encrypted_oddly_packed_or_too_large_is_refused_unread(check: Callable[..., Result]) -> None:
    data = zipped(with_manifest(members(), key=KEY))
    name = "artifacts/picture.jpg"
    refused(check(altered(data, name, flag_bits=1)), "is encrypted")
    refused(check(altered(data, name, flag_bits=0x40)), "is encrypted")
    refused(check(altered(data, name, compress_type=zipfile.ZIP_LZMA)), "packed by a method that no bundle uses")
    refused(check(altered(data, name, file_size=verify.LARGEST_MEMBER + 1)), f"at most {verify.LARGEST_MEMBER}")
    for document in ("job.json", MANIFEST):
        refused(
            check(altered(data, document, file_size=verify.LARGEST_DOCUMENT + 1)), f"at most {verify.LARGEST_DOCUMENT}"
        )
    refused(check(altered(data, SIGNATURE, file_size=verify.LARGEST_DOCUMENT + 1), key=KEY), "its manifest.sig has")


def test_a_file_that_is_longer_than_the_list_says_is_not_read_to_its_end(check: Callable[..., Result]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in with_manifest({**members(), "artifacts/zeros.npy": bytes(50_000_000)}).items():
            packed.writestr(name, data)
    refused(check(altered(buffer.getvalue(), "artifacts/zeros.npy", file_size=1000)), "damaged")


def test_a_bundle_that_unpacks_to_far_more_than_it_is_is_refused_unread(check: Callable[..., Result]) -> None:
    large = {f"artifacts/{place}.npy": bytes(24 * 1024 * 1024) for place in range(3)}
    refused(check(deflated(with_manifest({**members(), **large}))), "bytes unpacked; of")


@pytest.mark.parametrize("value", [b"{}", b"[]", b"1"])
def test_documents_of_many_values_are_refused_before_they_are_read(check: Callable[..., Result], value: bytes) -> None:
    many = b"[" + b",".join([value] * 4_000_000) + b"]"
    job = b'{"id": "job", "x": ' + many + b"}"
    began = time.process_time()
    packed = with_manifest({**members(), "job.json": job})
    refused(check(deflated(packed)), "its job.json is not read, and may be of another job or picture: more than")
    refused(check(deflated({**members(), MANIFEST: many})), "is not one that Pathlight writes")
    assert time.process_time() - began < 3


def test_nothing_stands_before_a_bundle_or_behind_it(check: Callable[..., Result]) -> None:
    whole = zipped(with_manifest(members()))
    assert check(whole).exit_code == 0
    for data in (b"#!/bin/sh\n" + whole, whole + b"more", whole + whole, whole[:4] + whole):
        refused(check(data), "it has something before its archive, or behind it")
    with_comment = whole[:-2] + b"\x04\x00more"
    refused(check(with_comment), "it has something before its archive, or behind it")


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"not a zip", b"PK\x05\x06" + bytes(18)], ids=["empty", "cut", "text", "no files"]
)
def test_what_is_no_bundle_is_said_to_be_none(data: bytes, check: Callable[..., Result]) -> None:
    refused(check(data), "bundle.zip: it ")


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"job": "job", "original_sha256": "x", "sha256": {}}',
        b'{"job": 1, "original_sha256": "%s", "sha256": {}}' % (b"0" * 64),
        b'{"job": "job", "original_sha256": "%s", "sha256": []}' % (b"0" * 64),
        b'{"job": "job", "original_sha256": "%s", "sha256": {"job.json": null}}' % (b"0" * 64),
    ],
    ids=["empty", "list", "null", "deep", "short hash", "odd id", "no names", "no hash"],
)
def test_a_manifest_of_another_form_is_refused(manifest: bytes, check: Callable[..., Result]) -> None:
    refused(check(zipped({**members(), MANIFEST: manifest})), "its manifest.json is not one that Pathlight writes")


@pytest.mark.parametrize("job", [b"", b"[]", b'{"id": "another", "image": {"sha256": "%s"}}' % (b"0" * 64)])
def test_a_job_that_is_not_the_manifest_s_is_refused(job: bytes, check: Callable[..., Result]) -> None:
    refused(check(zipped(with_manifest({**members(), "job.json": job}))), "of another job or picture")


def test_too_many_files_are_refused(check: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MOST_MEMBERS", 3)
    refused(check(zipped(with_manifest(members()))), "more than 3 files")


# -- with a real answer ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """A real job: its bundle, signed, the picture, and the installation that computed it."""

    bundle: bytes
    picture: Path
    home: Path


@pytest.fixture(scope="module")
def model_cache(registry: Registry) -> ModelCache:
    return ModelCache(registry)


@pytest.fixture
def answered(
    settings: Settings,
    store: JobStore,
    blobs: BlobStore,
    registry: Registry,
    model_cache: ModelCache,
    photos: dict[str, Image.Image],
    tmp_path: Path,
) -> Callable[..., Answered]:
    """Have a photograph explained by the real model, and fetch the bundle from the service."""
    signing = replace(settings, signing_key=KEY)
    bell = Bell(make_celery(settings))
    client = create_app(signing, store=store, blobs=blobs, bell=bell, registry=registry).test_client()
    picture = tmp_path / "chelsea.png"
    picture.write_bytes(encoded(photos["chelsea"]))

    def ask(**fields: Any) -> Answered:
        form = {"image": (io.BytesIO(picture.read_bytes()), "chelsea.png"), "models": MODEL, **fields}
        job = client.post("/api/v1/jobs", data=form).get_json()
        claim = store.claim(1, claim_id=secrets.token_hex(8))[0]
        limits = Limits.of(settings)
        shown = explained_picture(blobs, claim.image, claim.options, limits=limits, read=read_explained)
        result = answer(model_cache, [Query(shown, claim.options)])[0]
        assert store.succeed(claim, blobs.put(result.pack()), compute_ms=1.0)
        return Answered(client.get(job["links"]["bundle"]).data, picture, settings.home)

    return ask


def test_a_real_answer_is_signed_and_comes_out_again_by_the_commands_of_the_page(
    answered: Callable[..., Answered], check: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = answered(target="dog", contrast="cat", methods="gradcam")
    files = files_of(job.bundle)
    assert list(files)[-2:] == [MANIFEST, SIGNATURE]
    monkeypatch.chdir(tmp_path)
    Path("pathlight-ID.zip").write_bytes(job.bundle)
    Path("photo.jpg").write_bytes(job.picture.read_bytes())
    export, plain, recompute, by_hand = commands_of("docs/maintenance.md")[:4]
    for line in (plain, recompute):
        environment = {"PATHLIGHT_SIGNING_KEY": KEY, "PATHLIGHT_HOME": "elsewhere"}
        done = CliRunner(env=environment).invoke(main, shlex.split(line)[1:])
        assert done.exit_code == 0, done.output
        assert "it is signed by PATHLIGHT_SIGNING_KEY" in done.output
        assert ("the same answer came out again, within 1e-03" in done.output) is (line == recompute)
    assert files[SIGNATURE].split()[1].decode() in shell(by_hand, PATHLIGHT_SIGNING_KEY=KEY)
    assert Settings(signing_key=shell(f'{export}; printf %s "$PATHLIGHT_SIGNING_KEY"'))
    done = check(job.bundle, "--recompute", key=KEY, home=job.home)
    assert done.exit_code == 0 and "the same answer came out again" in done.output, "the picture is still here"


def shell(line: str, **environment: str) -> str:
    given = os.environ | environment
    return subprocess.run(["sh", "-c", line], env=given, capture_output=True, text=True, check=True).stdout


def test_an_answer_that_does_not_come_out_again_is_found(
    answered: Callable[..., Answered], check: Callable[..., Result]
) -> None:
    job = answered()
    files = {name: data for name, data in files_of(job.bundle).items() if name not in (MANIFEST, SIGNATURE)}

    def forged(**changed: bytes) -> bytes:
        """With hashes that fit, as whoever makes a bundle up would give it."""
        document = json.loads(changed.get("job.json", files["job.json"]))
        whole = {**files, **changed}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in whole.items()}
        manifest = Manifest(document["id"], document["image"]["sha256"], hashes).to_bytes()
        return zipped({**whole, MANIFEST: manifest})

    def again(data: bytes) -> Result:
        return check(data, "--recompute", home=job.home)

    def document(change: Callable[[Any], None]) -> dict[str, bytes]:
        copy = json.loads(files["job.json"])
        change(copy)
        return {"job.json": json.dumps(copy).encode()}

    assert again(forged()).exit_code == 0
    name = f"artifacts/{MODEL}.cam.npy"
    raw = np.load(io.BytesIO(files[name]), allow_pickle=False)
    for wrong in (raw + 0.01 * np.abs(raw).max(), raw[:-1], raw.astype(np.float64), raw * np.nan):
        buffer = io.BytesIO()
        np.save(buffer, wrong)
        refused(again(forged(**{name: buffer.getvalue()})), f"'{name}' is not the map that comes out again")
    for shape, other in ((b"(8, 8), }" + b" " * 12, b"(8" + b"0" * 12 + b", 8), }"), (b"(8, 8)", b"(88888")):
        claims_much = files[name].replace(shape, other)
        assert len(claims_much) == len(files[name]) and claims_much != files[name]
        refused(again(forged(**{name: claims_much})), f"'{name}' is not the map")

    refused(again(forged(**{"artifacts/more.npy": files[name]})), "'artifacts/more.npy' does not come out again")

    def other_class(job: Any) -> None:
        job["result"]["explanations"][0]["prediction"]["name"] = "dog"

    def surer(job: Any) -> None:
        job["result"]["explanations"][0]["prediction"]["probability"] -= 0.01

    def other_path(job: Any) -> None:
        job["result"]["explanations"][0]["decision_path"]["steps"].pop()

    def longer_path(job: Any) -> None:
        steps = job["result"]["explanations"][0]["decision_path"]["steps"]
        steps.append({**steps[0], "node": "made up"})

    for change in (other_class, surer, other_path, longer_path):
        refused(again(forged(**document(change))), f"{MODEL} answers otherwise now")
    refused(again(forged(**document(lambda job: job["result"].update(explanations=[])))), "has not the explanations")
    asked = json.loads(files["job.json"])["options"]
    for broken in ({**asked, "target": 1}, {**asked, "fill": "paint"}, {**asked, "what": 1}, {}, None):
        odd = json.loads(files["job.json"])
        odd["result"]["provenance"]["options"] = broken
        refused(again(forged(**{"job.json": json.dumps(odd).encode()})), "does not tell what was asked")


def test_what_cannot_be_computed_again_here_is_said_and_is_no_verdict(
    answered: Callable[..., Answered], check: Callable[..., Result], tmp_path: Path, photos: dict[str, Image.Image]
) -> None:
    mask = Image.new("L", photos["chelsea"].size)
    mask.paste(255, (0, 0, 200, 150))
    job = answered(mask=(io.BytesIO(encoded(mask)), "mask.png"))
    other = tmp_path / "other.png"
    other.write_bytes(encoded(photos["coffee"]))

    def unanswered(*words: str) -> str:
        done = check(job.bundle, "--recompute", *words)
        assert done.exit_code == 2 and "FALSE" not in done.output, done.output
        return done.output

    assert "name the file with --picture" in unanswered()
    assert "is not the picture that was explained" in unanswered("--picture", str(other))
    assert check(job.bundle, "--recompute", "--picture", str(job.picture)).exit_code == 0, "the bundle has the mask"


def test_other_weights_are_told_from_another_answer(
    answered: Callable[..., Answered], check: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = answered()
    monkeypatch.setattr(
        "worker.explain.answers.provenance", lambda models, options: Provenance(models={MODEL: ModelIdentity()}, seed=0)
    )
    done = check(job.bundle, "--recompute", home=job.home)
    assert done.exit_code == 2 and f"computed by another {MODEL}" in done.output


def test_a_key_that_is_too_short_is_refused_and_not_repeated(check: Callable[..., Result]) -> None:
    done = check(zipped(with_manifest(members())), key="my short secret")
    assert done.exit_code == 2 and "PATHLIGHT_SIGNING_KEY must have at least 32" in done.output
    assert "my short secret" not in done.output
