"""`pathlight verify`: whether a bundle is what its manifest says, whose signature it bears, and whether the same answer
comes out again.

A bundle comes from anywhere. Nothing of it is unpacked or run; its members are read piece by piece, within bounds.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cli.say import Say
from shared import distribution, json_text
from shared import options as job_options
from shared.answer.answer import Provenance
from shared.answer.explanation import Explanation
from shared.blobs.blob_store import BlobStore
from shared.blobs.bucket import blob_store
from shared.cards.card import Registry
from shared.errors import InvalidBundle, InvalidImage, InvalidOption, ModelUnavailable, PathlightError, StorageFailed
from shared.images.archives import UNPACKED_AT_LEAST, UNPACKED_PER_BYTE, Measured
from shared.images.decode import Limits, Photo
from shared.images.sandbox.decoders import read_explained
from shared.jobs import FILLS, JobOptions
from shared.manifest import MANIFEST, SIGNATURE, Manifest, is_signed
from shared.results import Result
from shared.settings import Settings

TOLERANCE = 1e-3
"""How far a probability, or a cell of a map as a share of the map's largest, may be from what comes out again. Another
processor rounds otherwise by some 1e-5; another picture or model is further off by far."""

MOST_MEMBERS = 10_000
LARGEST_MEMBER = 256 * 1024 * 1024  # bytes unpacked
LARGEST_DOCUMENT = 16 * 1024 * 1024  # of those that are read whole
MOST_VALUES = 500_000  # of the job's document
_JOB = "job.json"
_MASK = "artifacts/mask.png"
_CHUNK = 1 << 20
_ENCRYPTED = 0x41  # either kind
_FILE, _LIST_END = b"PK\x03\x04", b"PK\x05\x06"  # what a zip archive begins with, and what its last record does
_END = struct.Struct("<4s4H2LH")  # that record: size and place of the list of files are its 6th and 7th field


@dataclass(frozen=True)
class Claims:
    """What a bundle says of itself, once its files are known to be those of its manifest."""

    manifest: Manifest
    job: Mapping[str, Any]

    @property
    def provenance(self) -> Provenance:
        """Raises InvalidBundle."""
        try:
            return Provenance.from_dict(self.job["result"]["provenance"])
        except (KeyError, TypeError, ValidationError) as error:
            raise InvalidBundle(f"its {_JOB} does not tell what was asked") from error

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """Raises InvalidBundle."""
        try:
            return tuple(Explanation.from_dict(one) for one in self.job["result"]["explanations"])
        except (KeyError, TypeError, ValidationError) as error:
            raise InvalidBundle(f"its {_JOB} has not the explanations that come out again") from error


def verify(path: Path, settings: Settings, *, say: Say) -> Claims:
    """Check files, hashes and, where there is a key, the signature. Raises InvalidBundle, saying what is wrong."""
    with _opened(path) as archive:
        members = _members(archive)
        _check_sizes(members, path.stat().st_size)
        signed = _read(archive, members, MANIFEST)
        manifest = Manifest.from_bytes(signed)
        _check_names(members, manifest)
        _check_hashes(archive, manifest)
        say(f"its {len(manifest.sha256)} files are those of its manifest")
        say(_check_signature(archive, members, signed, key=settings.signing_key))
        return Claims(manifest, _job(archive, members, manifest))


def recompute(path: Path, claims: Claims, settings: Settings, *, picture: Path | None, say: Say) -> None:
    """Explain the picture again and compare. It is the file `picture`, or where there is none the one that this
    installation keeps. Raises InvalidBundle where another answer comes out; InvalidImage, StorageFailed,
    ModelUnavailable or MissingPackage where it cannot be asked for here."""
    distribution.need("worker")
    from worker.engine.model_cache import ModelCache
    from worker.explain.answers import answer, provenance
    from worker.explain.query import Query

    stated = claims.provenance
    options = _options(stated)
    model_cache = ModelCache(Registry.load(settings), precision=settings.precision)
    query = Query(_picture(path, claims, options, settings, picture), options)
    _check_models(stated, provenance([model_cache.get(name) for name in options.models], options))
    result = answer(model_cache, [query])[0]
    _compare_words(claims.explanations, result.answer.explanations)
    with _opened(path) as archive:
        _compare_maps(archive, _members(archive), result)
    say(f"the same answer came out again, within {TOLERANCE:.0e}: {len(result.maps)} maps, {', '.join(options.models)}")


# -- the archive -------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive. Whatever its reader raises on broken input means the same."""
    try:
        with path.open("rb") as file:
            _check_whole(file)
            with zipfile.ZipFile(Measured(file)) as archive:
                yield archive
    except PathlightError as error:
        raise error if isinstance(error, InvalidBundle) else InvalidBundle(str(error)) from error
    except Exception as error:
        raise InvalidBundle("it is no zip archive, or a damaged one") from error


def _check_whole(file: BinaryIO) -> None:
    """Nothing may stand before the archive or behind it, where readers of archives would pass it over."""
    begin = file.read(len(_FILE))
    file.seek(-_END.size, os.SEEK_END)
    magic, _, _, _, _, size, offset, comment = _END.unpack(file.read(_END.size))
    if begin not in (_FILE, _LIST_END) or magic != _LIST_END or comment or offset + size + _END.size != file.tell():
        raise InvalidBundle("it has something before its archive, or behind it, that is no part of it")
    file.seek(0)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """All that the archive's own list names, each once and within bounds."""
    if len(archive.infolist()) > MOST_MEMBERS:
        raise InvalidBundle(f"it has more than {MOST_MEMBERS} files")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename
        if name in members:
            raise InvalidBundle(f"it has two files named {name!r}")
        if info.flag_bits & _ENCRYPTED:
            raise InvalidBundle(f"{name!r} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidBundle(f"{name!r} is packed by a method that no bundle uses")
        if info.file_size > LARGEST_MEMBER:
            raise InvalidBundle(f"{name!r} has {info.file_size} bytes; at most {LARGEST_MEMBER} are read")
        members[name] = info
    return members


def _check_sizes(members: Mapping[str, zipfile.ZipInfo], size: int) -> None:
    """What a bundle is made of hardly shrinks when it is packed, and is not packed by Pathlight."""
    total, most = sum(info.file_size for info in members.values()), UNPACKED_AT_LEAST + UNPACKED_PER_BYTE * size
    if total > most:
        raise InvalidBundle(f"it has {total} bytes unpacked; of {size} bytes at most {most} are read")


def _read(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], name: str) -> bytes:
    """A member that is read whole, which only a short one is."""
    if name not in members:
        raise InvalidBundle(f"it has no {name}; is it a bundle of Pathlight?")
    if members[name].file_size > LARGEST_DOCUMENT:
        raise InvalidBundle(f"its {name} has {members[name].file_size} bytes; at most {LARGEST_DOCUMENT} are read")
    return archive.read(members[name])


def _check_names(members: Mapping[str, zipfile.ZipInfo], manifest: Manifest) -> None:
    stated = {*manifest.sha256, MANIFEST}
    if extra := sorted(members.keys() - stated - {SIGNATURE}):
        raise InvalidBundle(f"{extra[0]!r} is not in its manifest")
    if lost := sorted(stated - members.keys()):
        raise InvalidBundle(f"{lost[0]!r} is in its manifest, and missing")


def _check_hashes(archive: zipfile.ZipFile, manifest: Manifest) -> None:
    for name, stated in manifest.sha256.items():
        digest = hashlib.sha256()
        with archive.open(name) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != stated:
            raise InvalidBundle(f"{name!r} is not what its manifest says: its SHA-256 is another")


def _check_signature(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], manifest: bytes, *, key: str
) -> str:
    """What is to be said of the signature. Raises InvalidBundle where there is a key and it is not by this one."""
    if not key:
        if SIGNATURE in members:
            return "its signature was not checked: set PATHLIGHT_SIGNING_KEY to the key of whoever made it"
        return "it is not signed: nothing was damaged, but who made it is unknown"
    if SIGNATURE not in members:
        raise InvalidBundle("it is not signed, and PATHLIGHT_SIGNING_KEY is set; unset it to check the hashes alone")
    if not is_signed(manifest, _read(archive, members, SIGNATURE), key=key):
        raise InvalidBundle("its signature is not by PATHLIGHT_SIGNING_KEY, or its manifest was changed")
    return "it is signed by PATHLIGHT_SIGNING_KEY"


def _job(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], manifest: Manifest) -> Mapping[str, Any]:
    """The job's document, which has to be of the job and the picture that the manifest names."""
    try:
        job: Mapping[str, Any] = json_text.decode_few(_read(archive, members, _JOB), most=MOST_VALUES)
    except ValueError as error:
        raise InvalidBundle(f"its {_JOB} is not read, and may be of another job or picture: {error}") from error
    try:
        sound = job["id"] == manifest.job and job["image"]["sha256"] == manifest.original_sha256
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise InvalidBundle(f"its {_JOB} is of another job or picture than its manifest")
    return job


# -- the answer --------------------------------------------------------------------------------------------------------


def _options(stated: Provenance) -> JobOptions:
    """What the job asked, as the provenance of its result states."""
    options = stated.options
    try:
        if options is None or options.fill not in FILLS:
            raise InvalidOption("fill")
        job_options.check(options)
    except InvalidOption as error:
        raise InvalidBundle(f"its {_JOB} does not tell what was asked") from error
    return options


def _picture(bundle: Path, claims: Claims, options: JobOptions, settings: Settings, path: Path | None) -> Photo:
    """The picture as it was explained, less what a what-if hides."""
    limits = Limits.of(settings)
    data = _original(claims.manifest.original_sha256, blob_store(settings), path)
    with _opened(bundle) as archive:
        mask = None if options.mask is None else _read(archive, _members(archive), _MASK)
    return read_explained(data, mask, limits, fill=options.fill)


def _original(sha256: str, blobs: BlobStore, path: Path | None) -> bytes:
    """The bytes that were uploaded."""
    if path is None:
        try:
            return blobs.get(sha256)
        except StorageFailed as error:
            raise StorageFailed("this installation does not keep its picture; name the file with --picture") from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidImage(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InvalidImage(f"{path} is not the picture that was explained, whose SHA-256 is {sha256}")
    return data


def _check_models(stated: Provenance, here: Provenance) -> None:
    """The weights, inputs and trees of now have to be those of then. What else a card says, such as a title, makes
    another version of a model, but no other answer."""
    unversioned = {"version": None}
    for name, model in here.models.items():
        known = stated.models.get(name)
        if known is None or known.model_copy(update=unversioned) != model.model_copy(update=unversioned):
            raise ModelUnavailable(
                f"it was computed by another {name} than this installation has; use the same weights"
            )
    if stated.seed != here.seed:
        raise ModelUnavailable("it was computed with another seed than this version of Pathlight uses")


def _compare_words(stated: Sequence[Explanation], again: Sequence[Explanation]) -> None:
    if len(stated) != len(again):
        raise InvalidBundle(f"its {_JOB} has not the explanations that come out again")
    for explanation, one, other in zip(again, map(_figures, stated), map(_figures, again), strict=True):
        differing = [what for what in other if what not in one or not abs(one[what] - other[what]) <= TOLERANCE]
        if differing or len(one) != len(other):
            what = differing[0] if differing else "a class or a decision"
            raise InvalidBundle(f"{explanation.model} answers otherwise now: {what} is another")


def _figures(explanation: Explanation) -> dict[str, float]:
    """Each probability that is said, by what it is of: another prediction, class or decision is another name."""
    prediction, path = explanation.prediction, explanation.decision_path
    figures = {f"{explanation.model}'s prediction {prediction.name}": prediction.probability}
    figures |= {f"the probability of {ranked.name}": ranked.probability for ranked in prediction.top}
    for number, step in enumerate(path.steps if path else (), 1):
        figures[f"decision {number}, {step.node}"] = step.probability
    return figures


def _compare_maps(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], result: Result) -> None:
    stated = {name for name in members if name.endswith(".npy")}
    again = {f"artifacts/{name}.npy": raw for name, raw in result.maps.items()}
    if differing := sorted(stated ^ again.keys()):
        raise InvalidBundle(f"{differing[0]!r} does not come out again, or is missing")
    for name, raw in again.items():
        found = _array(_read(archive, members, name), raw.shape)
        scale = float(np.abs(raw).max(initial=0)) or 1.0
        if found is None or not np.abs(found - raw).max(initial=0) <= TOLERANCE * scale:
            raise InvalidBundle(f"{name!r} is not the map that comes out again")


def _array(data: bytes, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """A float32 array of this very shape; None where the file is anything else, whatever size it claims."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        found = np.lib.format.read_array_header_1_0(file) if version == (1, 0) else None
        if found != (shape, False, np.dtype(np.float32)):
            return None
        return np.frombuffer(data, np.float32, offset=file.tell()).reshape(shape)
    except Exception:  # the reader of such headers raises anything on broken input
        return None
