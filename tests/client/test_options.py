"""The client stands alone; that its words are those of the service is compared here."""

from __future__ import annotations

from pathlight_client import contract
from pathlight_client.options import BatchOptions, Options
from shared.jobs import TERMINAL, CommonOptions, WhatIfOptions, option_fields

OF_REQUESTS = {"idempotency_key"}
OF_SUBMISSIONS = {"mask", "image_url", "webhook"}


def test_the_client_takes_what_the_service_takes() -> None:
    assert BatchOptions.__annotations__.keys() - OF_REQUESTS == option_fields(CommonOptions).keys()
    job = option_fields(CommonOptions).keys() | option_fields(WhatIfOptions).keys()
    assert Options.__annotations__.keys() - OF_REQUESTS - OF_SUBMISSIONS == job


def test_the_client_waits_for_the_ends_that_jobs_have() -> None:
    assert set(TERMINAL) == contract.TERMINAL
