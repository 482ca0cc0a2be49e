"""Pathlight's Python client: submit pictures to a running service, wait for answers, fetch maps.

    from pathlight_client import Pathlight

    with Pathlight("http://127.0.0.1:8000") as pathlight:
        job = pathlight.wait(pathlight.submit("photo.jpg")["id"])

`AsyncPathlight` has the same methods as coroutines.
"""

from pathlight_client.asynchronous import AsyncPathlight
from pathlight_client.contract import Batch, Job, Refused, Unreachable
from pathlight_client.synchronous import Pathlight

__all__ = ["AsyncPathlight", "Batch", "Job", "Pathlight", "Refused", "Unreachable"]
