"""The Python client against a running service: sync, async, and with the event stream cut."""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pathlight_client import AsyncPathlight, Job, Pathlight, Refused, Unreachable
from pathlight_client.contract import Events
from shared.settings import REPOSITORY
from tests.conftest import encoded, wait_for
from tests.flow.conftest import Service, free_port
from tests.flow.cutting import cutting


def address(service: Service) -> str:
    return str(service.client.base_url)


def ends_well(job: Job) -> None:
    assert job["status"] == "succeeded", job["error"]
    names = [step["name"] for step in job["result"]["explanations"][0]["decision_path"]["steps"]]
    assert names[0] == "animal" and names[-1] == "cat"


@pytest.fixture(scope="session")
def chelsea(photos: dict[str, Image.Image]) -> bytes:
    return encoded(photos["chelsea"], "JPEG")


def test_a_program_that_waits_submits_follows_and_fetches(shared_service: Service, chelsea: bytes) -> None:
    with Pathlight(address(shared_service)) as pathlight:
        accepted = pathlight.submit(chelsea, models=["nbdt-cifar10"], target="cat")
        job = pathlight.wait(accepted["id"], seconds=60)
        ends_well(job)
        artifacts = job["result"]["explanations"][0]["maps"][0]["artifacts"]
        raw = np.load(io.BytesIO(pathlight.artifact(job["id"], artifacts["raw"].rsplit("/", 1)[1])))
        assert raw.shape == (8, 8)
        with zipfile.ZipFile(io.BytesIO(pathlight.artifact(job["id"], "bundle.zip"))) as bundle:
            assert bundle.testzip() is None
        assert job["id"] in [one["id"] for one in pathlight.jobs(limit=1)]
        assert {"nbdt-cifar10", "resnet18-photos100"} <= {model["name"] for model in pathlight.models()}
        with pytest.raises(Refused) as refused:
            pathlight.cancel(job["id"])
        assert refused.value.status == 409


def pictures(first: int, *, count: int = 3) -> list[tuple[str, bytes]]:
    found = [np.random.default_rng(first + i).integers(0, 255, (32, 32, 3), np.uint8) for i in range(count)]
    return [(f"{first + i}.png", encoded(Image.fromarray(pixels))) for i, pixels in enumerate(found)]


def test_a_program_sends_many_pictures_at_once_and_reads_their_maps(shared_service: Service) -> None:
    with Pathlight(address(shared_service)) as pathlight:
        sent = [*pictures(0), ("broken.png", b"no picture")]
        batch = pathlight.submit_batch(sent, models=["nbdt-cifar10"], idempotency_key="three")
        assert pathlight.submit_batch(sent, models=["nbdt-cifar10"], idempotency_key="three")["id"] == batch["id"]
        wait_for(lambda: pathlight.batch(batch["id"])["status"] == "finished", seconds=60, pause=0.1)
        members = list(pathlight.members(batch["id"], maps=True, limit=3))
        assert [one["image"]["filename"] for one in members] == ["0.png", "1.png", "2.png", "broken.png"]
        assert [one["status"] for one in members] == ["succeeded"] * 3 + ["failed"]
        assert members[0]["maps"]["nbdt-cifar10.cam.npy"]["shape"] == [8, 8]
        with pytest.raises(Refused) as refused:
            pathlight.cancel_batch(batch["id"])
        assert refused.value.status == 409


def test_a_program_that_does_other_things_has_the_same(shared_service: Service, chelsea: bytes) -> None:
    async def work() -> None:
        async with AsyncPathlight(address(shared_service)) as pathlight:
            asked = [pathlight.submit(chelsea, models=["nbdt-cifar10"], target=target) for target in ("dog", "bird")]
            accepted = await asyncio.gather(*asked)
            for job in await asyncio.gather(*(pathlight.wait(job["id"], seconds=60) for job in accepted)):
                ends_well(job)
            listed = [one["id"] async for one in pathlight.jobs(limit=1)]
            assert {job["id"] for job in accepted} <= set(listed)
            assert len(await pathlight.artifact(accepted[0]["id"], "bundle.zip")) > 1000
            assert any(model["ready"] for model in await pathlight.models())
            with pytest.raises(Refused):
                await pathlight.cancel(accepted[0]["id"])
            batch = await pathlight.submit_batch(pictures(10), models=["nbdt-cifar10"])
            while (await pathlight.batch(batch["id"]))["status"] != "finished":
                await asyncio.sleep(0.1)
            assert len([one async for one in pathlight.members(batch["id"], limit=2)]) == 3
            with pytest.raises(Refused):
                await pathlight.cancel_batch(batch["id"])

    asyncio.run(work())


def test_waiting_goes_on_where_the_event_stream_is_cut(shared_service: Service, chelsea: bytes) -> None:
    with cutting(address(shared_service)) as (cut, cuts):
        with Pathlight(cut) as pathlight:
            ends_well(
                pathlight.wait(pathlight.submit(chelsea, models=["nbdt-cifar10"], target="deer")["id"], seconds=60)
            )

        async def work() -> None:
            async with AsyncPathlight(cut) as pathlight:
                accepted = await pathlight.submit(chelsea, models=["nbdt-cifar10"], target="frog")
                ends_well(await pathlight.wait(accepted["id"], seconds=60))

        asyncio.run(work())
        assert len(cuts) == 2


def test_the_same_key_makes_no_second_job(shared_service: Service, chelsea: bytes) -> None:
    with Pathlight(address(shared_service)) as pathlight:
        ids = {pathlight.submit(chelsea, idempotency_key="once")["id"] for _ in range(2)}
        other = pathlight.submit(chelsea)["id"]
    assert len(ids) == 1 and other not in ids


def test_a_refusal_carries_the_services_own_words(shared_service: Service, chelsea: bytes) -> None:
    with Pathlight(address(shared_service)) as pathlight, pytest.raises(Refused, match="no-such-model") as refused:
        pathlight.submit(chelsea, models=["no-such-model"])
    assert refused.value.status == 422


def test_an_address_where_nobody_answers_is_named() -> None:
    port = free_port()
    with Pathlight(f"http://127.0.0.1:{port}") as pathlight, pytest.raises(Unreachable, match=str(port)):
        pathlight.get("x")


def test_an_event_may_come_in_several_lines() -> None:
    events = Events()
    fed = [
        events.feed(line) for line in (": on", "", "event: job", 'data: {"id": "x",', 'data: "status": "queued"}', "")
    ]
    assert fed[:-1] == [None] * 5 and fed[-1] == {"id": "x", "status": "queued"}


@pytest.mark.parametrize("page", ["docs/client.md", "client/README.md"])
def test_the_example_of_the_documentation_runs(
    page: str, shared_service: Service, chelsea: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.jpg").write_bytes(chelsea)
    for code in re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text("utf-8"), re.DOTALL):
        told = code.replace("http://127.0.0.1:8000", address(shared_service)).replace(
            '"photo.jpg"', json.dumps(str(tmp_path / "photo.jpg"))
        )
        scope: dict[str, Any] = {}
        exec(compile(told, page, "exec"), scope)
    assert "cat" in capsys.readouterr().out
