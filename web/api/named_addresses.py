"""Addresses that a submission names, a picture's to be fetched or a webhook's to be told; only where the operator
allows it, and a few at a time."""

from __future__ import annotations

from pathlib import PurePosixPath

import httpx

from shared.errors import AnswerTooLarge, FetchFailed, ForbiddenAddress, ImageTooLarge, InvalidOption, QueueFull
from shared.outbound.addresses import Rules
from shared.outbound.exchange import Outbound
from shared.settings import Settings
from web.http import access, slots
from web.http.turns import Turns, share_of


class NamedAddresses:
    """Fetches pictures and vets webhooks: each holds a thread of the server until it is done, or its time is over."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules = Rules.of(settings)
        self._outbound = Outbound(self._rules)
        most = max(1, settings.outbound_at_once)
        self._turns = Turns(
            "addresses of submissions",
            at_once=most,
            of_one=share_of(most),
            busy=lambda: QueueFull(f"{most} addresses of submissions are being contacted already; try again shortly"),
        )

    def fetch(self, address: str) -> tuple[bytes, str]:
        """The bytes of the picture at an address, and the name of their file. Raises InvalidOption, ImageTooLarge, or
        QueueFull where too many addresses are attended to already."""
        if not self._settings.image_url:
            raise InvalidOption(
                "image_url: this service fetches no pictures; send the picture itself, or have its operator set "
                "PATHLIGHT_IMAGE_URL=1"
            )
        try:
            with slots.released(), self._turns.taken(access.sharer()):
                answer = self._outbound.get(
                    address, most_bytes=self._settings.image_bytes, seconds=self._settings.outbound_seconds
                )
        except AnswerTooLarge as error:
            raise ImageTooLarge(f"image_url: the picture has more than {self._settings.image_bytes} bytes") from error
        except (ForbiddenAddress, FetchFailed) as error:
            raise InvalidOption(f"image_url: {error}") from error
        if answer.status != 200:
            hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            raise InvalidOption(f"image_url: the address answers with status {answer.status} instead of 200{hint}")
        return answer.body, PurePosixPath(httpx.URL(address).path).name

    def vet_webhook(self, address: str) -> None:
        """Raises InvalidOption where a webhook's address is not one that may be contacted, and QueueFull as `fetch`.
        Its sender looks again."""
        if not self._settings.webhook_secret:
            raise InvalidOption(
                "webhook: this service sends none; poll the job or follow its events, or have its operator set "
                "PATHLIGHT_WEBHOOK_SECRET"
            )
        try:
            with slots.released(), self._turns.taken(access.sharer()):
                self._rules.vet(address, seconds=self._settings.outbound_seconds)
        except ForbiddenAddress as error:
            raise InvalidOption(f"webhook: {error}") from error
