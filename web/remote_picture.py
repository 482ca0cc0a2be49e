"""Pictures that a submission names by address instead of bringing them; fetched only where the operator allows it."""

from __future__ import annotations

import threading
from pathlib import PurePosixPath

import httpx

from shared.addresses import Rules
from shared.errors import AnswerTooLarge, FetchFailed, ForbiddenAddress, ImageTooLarge, InvalidOption, QueueFull
from shared.outbound import Outbound
from shared.settings import Settings


class RemotePictures:
    """Fetches pictures, a few at a time: each holds a thread of the server until it is here, or its time is over."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._outbound = Outbound(Rules.of(settings))
        self._places = threading.BoundedSemaphore(max(1, settings.image_url_fetches))

    def fetch(self, address: str) -> tuple[bytes, str]:
        """The bytes at an address, and the name of their file. Raises InvalidOption, ImageTooLarge, or QueueFull where
        too many are being fetched already."""
        if not self._settings.image_url:
            raise InvalidOption(
                "image_url: this service fetches no pictures; send the picture itself, or have its operator set "
                "PATHLIGHT_IMAGE_URL=1"
            )
        if not self._places.acquire(blocking=False):
            raise QueueFull(f"{self._settings.image_url_fetches} pictures are being fetched already; try again shortly")
        try:
            answer = self._outbound.get(
                address, most_bytes=self._settings.image_bytes, seconds=self._settings.outbound_seconds
            )
        except AnswerTooLarge as error:
            raise ImageTooLarge(f"image_url: the picture has more than {self._settings.image_bytes} bytes") from error
        except (ForbiddenAddress, FetchFailed) as error:
            raise InvalidOption(f"image_url: {error}") from error
        finally:
            self._places.release()
        if answer.status != 200:
            hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            raise InvalidOption(f"image_url: the address answers with status {answer.status} instead of 200{hint}")
        return answer.body, PurePosixPath(httpx.URL(address).path).name
