"""Artifacts over HTTP: with a key, with a link, in whole and in part."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from sandbox_service.api.errors import RangeNotSatisfiable
from sandbox_service.api.ranges import ByteRange, first_bytes, parse_range
from sandbox_service.domain.values import ArtifactRecord
from tests.unit.fakes.api_fakes import BOB_KEY, World, small_settings

CONTENT = bytes(range(256)) * 20
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@dataclass
class Desk:
    """One artifact of alice's, and a client without a key."""

    world: World
    client: httpx.AsyncClient
    record: ArtifactRecord

    @property
    def url(self) -> str:
        return f"/v1/artifacts/{self.record.id}"

    def link(self, ttl_s: float) -> str:
        query = self.world.links.sign(self.record.id, datetime.now(UTC) + timedelta(seconds=ttl_s))
        return f"{self.url}/content?{query}"


@pytest.fixture(scope="module")
def world() -> World:
    """All tests here share one service; each has an artifact of its own."""
    return World(small_settings())


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    record = world.artifacts.keep("alice", "out/é.bin", CONTENT, "application/x-thing")
    async with world.client(world.app(), key=None) as client:
        yield Desk(world, client, record)


def with_key(key: str = "alice-key") -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_an_artifact_is_described_and_downloaded_with_a_key(desk: Desk) -> None:
    shown = (await desk.client.get(desk.url, headers=with_key())).json()
    assert (shown["path"], shown["size"]) == ("out/é.bin", len(CONTENT))
    answer = await desk.client.get(desk.url + "/content", headers=with_key())
    assert answer.content == CONTENT
    assert answer.headers["content-type"] == "application/x-thing"
    assert answer.headers["etag"] == f'"{shown["sha256"]}"'
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A9.bin"


async def test_what_a_browser_would_run_is_saved_and_sandboxed(desk: Desk) -> None:
    record = desk.world.artifacts.keep("alice", "x.svg", SVG, "image/svg+xml")
    url = f"/v1/artifacts/{record.id}/content"
    headers = (await desk.client.get(url, headers=with_key())).headers
    assert headers["content-type"] == "image/svg+xml"
    assert headers["content-disposition"].startswith("attachment")
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["x-content-type-options"] == "nosniff"


async def test_a_link_opens_its_artifact_without_a_key(desk: Desk) -> None:
    assert (await desk.client.get(desk.link(60))).content == CONTENT
    assert (await desk.client.head(desk.link(60))).headers["content-length"] == str(len(CONTENT))


async def test_an_expired_link_says_so(desk: Desk) -> None:
    answer = await desk.client.get(desk.link(-60))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "link_expired")
    assert "expired" in error["message"]


async def test_a_key_still_opens_what_an_expired_link_does_not(desk: Desk) -> None:
    answer = await desk.client.get(desk.link(-60), headers=with_key())
    assert answer.status_code == 200


async def test_a_link_of_one_artifact_opens_no_other(desk: Desk) -> None:
    other = desk.world.artifacts.keep("alice", "secret", b"secret", "text/plain")
    answer = await desk.client.get(desk.link(60).replace(desk.record.id, other.id))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "invalid_link")


async def test_a_link_opens_nothing_but_artifacts(desk: Desk) -> None:
    query = desk.link(60).partition("?")[2]
    assert (await desk.client.get(f"/v1/sessions?{query}")).status_code == 401


async def test_a_link_works_beside_another_tenants_key(desk: Desk) -> None:
    assert (await desk.client.get(desk.link(60), headers=with_key(BOB_KEY))).status_code == 200


async def test_another_tenants_key_does_not_find_it(desk: Desk) -> None:
    assert (await desk.client.get(desk.url, headers=with_key(BOB_KEY))).status_code == 404


async def test_what_the_caller_has_already_is_not_sent_again(desk: Desk) -> None:
    headers = {**with_key(), "If-None-Match": f'"{desk.record.sha256}"'}
    answer = await desk.client.get(desk.url + "/content", headers=headers)
    assert (answer.status_code, answer.content) == (304, b"")


async def test_a_part_is_sent_when_a_part_is_asked_for(desk: Desk) -> None:
    headers = {**with_key(), "Range": "bytes=1000-2099"}
    answer = await desk.client.get(desk.url + "/content", headers=headers)
    assert (answer.status_code, answer.content) == (206, CONTENT[1000:2100])
    assert answer.headers["content-range"] == f"bytes 1000-2099/{len(CONTENT)}"


async def test_a_part_outside_the_file_is_416(desk: Desk) -> None:
    headers = {**with_key(), "Range": "bytes=9999-"}
    assert (await desk.client.get(desk.url + "/content", headers=headers)).status_code == 416


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", None),
        ("bytes=0-0", ByteRange(0, 0)),
        ("bytes=5-", ByteRange(5, 9)),
        ("bytes=-3", ByteRange(7, 9)),
        ("bytes=-30", ByteRange(0, 9)),
        ("bytes=2-99", ByteRange(2, 9)),
        ("bytes=3-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_a_range_header_is_read_as_the_standard_says(header: str, chosen: ByteRange | None) -> None:
    assert parse_range(header, 10) == chosen


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_that_holds_nothing_is_refused(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, size)


@pytest.mark.parametrize("step", [1, 3, 10, 100])
async def test_of_a_stream_as_much_is_read_as_the_range_needs(step: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(7, 100, step):
            assert start < 42, "read on after the end of the range"
            yield bytes(range(start, min(100, start + step)))

    pieces = [piece async for piece in first_bytes(chunks(), 35)]
    assert b"".join(pieces) == bytes(range(7, 42))


async def test_a_link_does_not_renew_itself(desk: Desk) -> None:
    """What is described to who has a link names that link, with its own end."""
    given = desk.link(60)
    shown = await desk.client.get(given.replace("/content", ""))
    assert shown.json()["url"].endswith(given)
    with_own_key = await desk.client.get(desk.url, headers=with_key())
    assert not with_own_key.json()["url"].endswith(given)
