"""The manifest of a bundle: the SHA-256 of each member and of the original picture, and a signature of its bytes.

The signature is HMAC-SHA256 (RFC 2104) under the operator's key: whoever holds the key can check it, and could have
made it. `openssl dgst -sha256 -hmac KEY manifest.json` gives the same digits.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared import json_text
from shared.errors import InvalidBundle

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
MOST_VALUES = 50_000  # of a manifest, names counted too: some two for each file
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds: the job's id, the hash of the picture as uploaded, and that of each member by its name."""

    job: str
    original_sha256: str
    sha256: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """The manifest as a file of a bundle."""
        document = {"job": self.job, "original_sha256": self.original_sha256, "sha256": dict(self.sha256)}
        return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Raises InvalidBundle where it is no manifest."""
        try:
            document = json_text.decode_few(data, most=MOST_VALUES)
            found = cls(document["job"], document["original_sha256"], document["sha256"])
            hashes = [found.original_sha256, *found.sha256.values()]
            sound = isinstance(found.job, str) and all(_SHA256.fullmatch(one) for one in hashes)
        except (ValueError, KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise InvalidBundle(f"its {MANIFEST} is not one that Pathlight writes")
        return found


def sign(manifest: bytes, *, key: str) -> bytes:
    """The member that signs these bytes of a manifest."""
    return f"hmac-sha256 {hmac.new(os.fsencode(key), manifest, hashlib.sha256).hexdigest()}\n".encode()


def is_signed(manifest: bytes, signature: bytes, *, key: str) -> bool:
    """Whether the signature is of these very bytes, by this very key."""
    return hmac.compare_digest(signature, sign(manifest, key=key))
