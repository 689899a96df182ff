"""Workspace files over HTTP: paths as they were sent, bytes that stream, limits that hold."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from sandbox_service.api.multipart import read_uploads
from sandbox_service.domain.errors import InvalidRequest
from tests.unit.fakes.api_fakes import BreaksWhileRead, Caller, MemoryFiles, World, small_settings


@dataclass
class Desk:
    """One open session's files."""

    client: httpx.AsyncClient
    world: World
    session_id: str
    files: MemoryFiles

    @property
    def url(self) -> str:
        return f"/v1/sessions/{self.session_id}/files"

    def caller(self, path: str, **parts: object) -> Caller:
        app = self.client._transport.app  # type: ignore[attr-defined]
        return Caller(app, "PUT", path, **parts)


@pytest.fixture(scope="module")
def world() -> World:
    """All tests here share one service; each has a session of its own."""
    return World(small_settings())


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    async with world.client(world.app()) as client:
        session_id = (await client.post("/v1/sessions", json={})).json()["id"]
        files = world.sessions.workspaces[session_id]
        assert isinstance(files, MemoryFiles)
        yield Desk(client, world, session_id, files)


NAMES = [
    ("a.txt", "a.txt", "a.txt"),
    ("sub/b%20c.txt", "sub/b c.txt", "b%20c.txt"),
    ("sub%2Fb.txt", "sub/b.txt", "b.txt"),
    ("%C3%A9%E6%97%A5.csv", "é日.csv", "%C3%A9%E6%97%A5.csv"),
    ("%FF%FE", "\udcff\udcfe", "%FF%FE"),
    ("line%0Afeed%0A", "line\nfeed\n", "line%0Afeed%0A"),
    ("q%22uote%5C%3B", 'q"uote\\;', "q%22uote%5C%3B"),
    ("..data", "..data", "..data"),
    ("100%25", "100%", "100%25"),
    ("files/x", "files/x", "x"),
    ("%252e%252e%252fx", "%2e%2e%2fx", "%252e%252e%252fx"),
]


@pytest.mark.parametrize(("sent", "path", "shown"), NAMES)
async def test_a_file_of_any_name_goes_up_comes_down_and_is_deleted(
    desk: Desk, sent: str, path: str, shown: str
) -> None:
    url = f"{desk.url}/{sent}"
    put = await desk.client.put(url, content=b"bytes")
    assert put.status_code == 200, put.text
    assert desk.files.contents == {path: b"bytes"}
    listed = (await desk.client.get(desk.url)).json()["data"]
    assert listed == [put.json()]
    got = await desk.client.get(listed[0]["url"])
    assert got.content == b"bytes"
    assert got.headers["content-disposition"] == f"attachment; filename*=UTF-8''{shown}"
    assert (await desk.client.delete(url)).status_code == 204
    assert (await desk.client.get(url)).status_code == 404


BAD_PATHS = [
    "%2e%2e/x", "%2e%2e%2fx", "a/%2e%2e/%2e%2e/x", "a/%2e%2e", "%2Fetc/passwd", "/etc/passwd",
    "%2e", "a%2F%2Fb", "a/", "", "nul%00", "x" * 256, "/".join(["d" * 200] * 30),
]  # fmt: skip


@pytest.mark.parametrize("sent", BAD_PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_path_that_leaves_the_workspace_is_refused_and_never_normalised(
    desk: Desk, method: str, sent: str
) -> None:
    answer = await desk.client.request(method, f"{desk.url}/{sent}")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "path")
    assert desk.files.contents == {}


async def test_dots_that_no_client_normalised_are_refused_too(desk: Desk) -> None:
    async with desk.caller(f"{desk.url}/../../x", body=[b"1"]) as caller:
        assert (await caller.next())["status"] == 400


async def test_downloads_cannot_run_on_our_origin(desk: Desk) -> None:
    desk.files.contents["page.html"] = b"<script>alert(1)</script>"
    headers = (await desk.client.get(f"{desk.url}/page.html")).headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_head_tells_the_size_and_sends_nothing(desk: Desk) -> None:
    desk.files.contents["a"] = b"12345"
    answer = await desk.client.head(f"{desk.url}/a")
    assert (answer.headers["content-length"], answer.content) == ("5", b"")


async def test_an_upload_is_stored_as_it_streams_in(desk: Desk) -> None:
    async with desk.caller(f"{desk.url}/a", body=[b"1", b"2", b"", b"3"]) as caller:
        assert (await caller.next())["status"] == 200
    assert desk.files.contents == {"a": b"123"}


@pytest.mark.parametrize("announced", [True, False])
async def test_an_upload_over_the_limit_leaves_nothing_behind(desk: Desk, announced: bool) -> None:
    headers = {"content-length": "6000"} if announced else {}
    body = [b"x" * 1000] * 6
    async with desk.caller(f"{desk.url}/a", body=body, headers=headers) as caller:
        assert (await caller.next())["status"] == 413
        assert "5000" in await caller.next_text()
    assert desk.files.contents == {}


async def test_an_upload_whose_caller_leaves_is_not_stored(desk: Desk) -> None:
    async with desk.caller(f"{desk.url}/a", body=[b"1"], hangs_up_in_body=True) as caller:
        await caller.hang_up()
    assert desk.files.contents == {}


async def test_a_full_workspace_says_so(desk: Desk) -> None:
    desk.files.capacity_bytes = 3
    answer = await desk.client.put(f"{desk.url}/a", content=b"1234")
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "workspace_full")


async def test_a_download_that_breaks_ends_short_so_that_it_shows(desk: Desk) -> None:
    desk.world.sessions.workspaces[desk.session_id] = BreaksWhileRead()
    app = desk.client._transport.app  # type: ignore[attr-defined]
    async with Caller(app, "GET", f"{desk.url}/a") as caller:
        assert (b"content-length", b"1000") in (await caller.next())["headers"]
        assert (await caller.next())["body"] == b"first"
        await caller.task
        assert not caller.has_more()


async def test_files_are_listed_by_folder(desk: Desk) -> None:
    desk.files.contents = {"a/x": b"", "b/y": b""}
    page = (await desk.client.get(desk.url, params={"prefix": "a/"})).json()
    assert [entry["path"] for entry in page["data"]] == ["a/x"]
    assert (await desk.client.get(desk.url, params={"prefix": "../"})).status_code == 400


async def test_the_archive_is_a_tar_to_save(desk: Desk) -> None:
    desk.files.contents = {"a": b"12"}
    answer = await desk.client.get(f"/v1/sessions/{desk.session_id}/archive")
    assert (answer.content, answer.headers["content-type"]) == (b"12", "application/x-tar")
    assert f"{desk.session_id}.tar" in answer.headers["content-disposition"]


async def test_a_form_stores_several_files_in_a_folder(desk: Desk) -> None:
    files = [("file", ("é 1.csv", b"1")), ("file", ("sub/2.csv", b"2" * 3000))]
    answer = await desk.client.post(desk.url, data={"path": "in/"}, files=files)
    assert answer.status_code == 201
    assert [entry["path"] for entry in answer.json()["data"]] == ["in/é 1.csv", "in/sub/2.csv"]
    assert desk.files.contents == {"in/é 1.csv": b"1", "in/sub/2.csv": b"2" * 3000}


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
END = b"--b--\r\n"
BAD_FORMS = [
    ({"Content-Type": "application/json"}, b"{}", 400, "Content-Type"),
    ({"Content-Type": "multipart/form-data"}, b"", 400, "Content-Type"),
    (FORM, b"", 400, "body"),
    (FORM, b"no form", 400, "body"),
    (FORM, END, 400, "file"),
    (FORM, PART % (b"file", b'; filename="a"', b"cut"), 400, "body"),
    (FORM, b"--b\r\nX: y\r\n\r\n1\r\n" + END, 400, "body"),
    (FORM, PART % (b"colour", b"", b"1") + END, 400, "colour"),
    (FORM, PART % (b"path", b"", b"x" * 4097) + END, 400, "path"),
    (FORM, PART % (b"path", b"", b"../up") + END, 400, "path"),
    (FORM, PART % (b"file", b'; filename="../x"', b"1") + END, 400, "path"),
    (FORM, PART % (b"file", b'; filename="/etc/x"', b"1") + END, 400, "path"),
    (FORM, PART % (b"file", b'; filename=""', b"1") + END, 400, "path"),
    (FORM, PART % (b"file", b'; filename="a"', b"x" * 6000) + END, 413, "body"),
]


@pytest.mark.parametrize(("headers", "body", "status", "param"), BAD_FORMS)
async def test_a_bad_form_stores_nothing(
    desk: Desk, headers: dict[str, str], body: bytes, status: int, param: str
) -> None:
    answer = await desk.client.post(desk.url, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert desk.files.contents == {}


async def test_the_folder_of_a_form_comes_before_its_files(desk: Desk) -> None:
    body = PART % (b"file", b'; filename="a"', b"1") + PART % (b"path", b"", b"in") + END
    answer = await desk.client.post(desk.url, content=body, headers=FORM)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "path")


async def test_what_is_in_an_archive_file_is_data(desk: Desk) -> None:
    content = b"../../evil\x00tar"
    await desk.client.put(f"{desk.url}/evil.tar", content=content)
    assert desk.files.contents == {"evil.tar": content}


def form_request(chunks: list[bytes]) -> Request:
    waiting = iter([*({"type": "http.request", "body": c, "more_body": True} for c in chunks)])
    last = {"type": "http.request", "body": b"", "more_body": False}

    async def receive() -> dict[str, object]:
        return next(waiting, last)

    header = (b"content-type", b"multipart/form-data; boundary=b")
    return Request({"type": "http", "method": "POST", "headers": [header]}, receive)


@given(content=st.binary(max_size=200), size=st.integers(1, 50))
async def test_a_form_reads_the_same_however_it_was_cut(content: bytes, size: int) -> None:
    content = content.replace(b"\r\n--b", b"")
    body = PART % (b"path", b"", b"in") + PART % (b"file", b'; filename="\xff"', content) + END
    request = form_request([body[i : i + size] for i in range(0, len(body), size)])
    parts = []
    async for upload in read_uploads(request, 10_000):
        data = b"".join([chunk async for chunk in upload.chunks])
        parts.append((upload.name, upload.filename, data))
    assert parts == [("path", None, b"in"), ("file", "\udcff", content)]


LONG_FORMS = {
    "a header": b"--b\r\nX: " + b"y" * 100_000,
    "many headers": b"--b\r\n" + b"X: y\r\n" * 20_000,
    "many parts": (PART % (b"file", b'; filename="a"', b"1")) * 2_000,
}


@pytest.mark.parametrize("form", LONG_FORMS.values(), ids=LONG_FORMS)
async def test_the_frame_of_a_form_has_a_bound_of_its_own(form: bytes) -> None:
    """However large the files may be."""
    request = form_request([form[start : start + 1000] for start in range(0, len(form), 1000)])
    with pytest.raises(InvalidRequest):
        async for _ in read_uploads(request, 1 << 40):
            pass
