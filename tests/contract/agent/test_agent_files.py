"""Files of the workspace: any name, any size, and never through a link."""

import asyncio
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.contract.agent.agent_process import AgentProcess

NAMES = [
    "plain.csv",
    "with space.txt",
    "sub/deep/Übersicht 漢字 😀.txt",
    "100%.txt",
    "a?b#c&d=e",
    "~x",
]


@pytest.fixture(autouse=True)
def _empty_workspace(agent: AgentProcess) -> Iterator[None]:
    yield
    for path in sorted(agent.workspace.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_comes_back_as_it_was_put(agent: AgentProcess, name: str) -> None:
    """The name is where the kernel finds it; the bytes are the same."""
    content = os.urandom(1000)
    encoded = quote(name, safe="/")
    entry = await agent.value("PUT", f"files/{encoded}", content)
    assert (entry["name"], entry["type"], entry["size"]) == (encoded, "file", 1000)
    assert (agent.workspace / name).read_bytes() == content
    assert await agent.call("GET", f"files/{encoded}") == (200, content)
    listed = (await agent.value("GET", "files"))["entries"]
    assert encoded in [one["name"] for one in listed]
    assert (await agent.call("DELETE", f"files/{encoded}"))[0] == 204
    assert (await agent.call("GET", f"files/{encoded}"))[0] == 404


async def test_a_name_may_be_any_bytes(agent: AgentProcess) -> None:
    """Bytes that are not UTF-8 travel percent-encoded."""
    name = "bad%FF%FEname%0A.bin"
    await agent.value("PUT", f"files/{name}", b"x")
    assert os.listdir(os.fsencode(agent.workspace)) == [b"bad\xff\xfename\n.bin"]
    entries = (await agent.value("GET", "files"))["entries"]
    assert [entry["name"] for entry in entries] == [name]
    assert await agent.call("GET", f"files/{name}") == (200, b"x")


@pytest.mark.parametrize(
    "name",
    ["", "../x", "a/../../x", "%2e%2e/x", "a/%2e%2e%2fx", "/etc/passwd", "a//b", "./a", "a%00b"],
)
async def test_a_name_that_is_not_clean_is_refused(agent: AgentProcess, name: str) -> None:
    """Nothing outside the workspace has a name."""
    for method, body in (("GET", None), ("PUT", b"x"), ("DELETE", None)):
        status, answer = await agent.call(method, f"files/{name}", body)
        assert (status, json.loads(answer)["error"]["code"]) == (400, "invalid_name")


async def test_no_link_is_followed(agent: AgentProcess, tmp_path: Path) -> None:
    """Not as the file, and not as a folder on the way to it."""
    (tmp_path / "secret").write_text("secret")
    (agent.workspace / "link").symlink_to(tmp_path / "secret")
    (agent.workspace / "folder").symlink_to(tmp_path)
    for name in ("link", "folder/secret"):
        status, answer = await agent.call("GET", f"files/{name}")
        assert (status, json.loads(answer)["error"]["code"]) == (409, "not_a_file")
    assert (await agent.call("PUT", "files/folder/new", b"x"))[0] == 409
    assert not (tmp_path / "new").exists()
    await agent.value("PUT", "files/link", b"mine")
    assert (tmp_path / "secret").read_text() == "secret"
    await agent.call("DELETE", "files/folder")
    assert (tmp_path / "secret").exists()


async def test_special_files_and_links_are_left_out(agent: AgentProcess) -> None:
    """A list names regular files and directories; a pipe does not block a reader."""
    os.mkfifo(agent.workspace / "pipe")
    (agent.workspace / "link").symlink_to("/etc/passwd")
    (agent.workspace / "folder").mkdir()
    entries = (await agent.value("GET", "files"))["entries"]
    assert [(entry["name"], entry["type"]) for entry in entries] == [("folder", "directory")]
    assert (await agent.call("GET", "files/pipe"))[0] == 409
    assert (await agent.call("GET", "files/folder"))[0] == 409


async def test_a_list_can_begin_below_a_folder(agent: AgentProcess) -> None:
    """A prefix is a folder; names stay relative to the workspace."""
    for name in ("a%20b/one", "a%20b/two/three", "other"):
        await agent.value("PUT", f"files/{name}", b"")
    entries = (await agent.value("GET", "files?prefix=a%20b/"))["entries"]
    assert [entry["name"] for entry in entries] == ["a%20b/one", "a%20b/two", "a%20b/two/three"]
    assert (await agent.value("GET", "files?prefix=nothing"))["entries"] == []


async def test_a_put_is_all_or_nothing(agent: AgentProcess) -> None:
    """A client that leaves in the middle leaves the old file as it was, and nothing beside it."""
    await agent.value("PUT", "files/kept", b"old")

    async def half() -> AsyncIterator[bytes]:
        yield b"new" * 1000
        await asyncio.sleep(0.05)
        raise RuntimeError("gone")

    with pytest.raises(Exception):  # noqa: PT011 - however the client reports its own failure
        await agent.client.put("http://agent/v1/files/kept", data=half())
    async with asyncio.timeout(60):
        while os.listdir(agent.workspace) != ["kept"]:
            await asyncio.sleep(0.02)
    assert (agent.workspace / "kept").read_bytes() == b"old"


async def test_a_folder_is_deleted_with_all_that_is_in_it(agent: AgentProcess) -> None:
    """One call removes the tree."""
    await agent.value("PUT", "files/tree/a/b", b"x")
    assert (await agent.call("DELETE", "files/tree"))[0] == 204
    assert list(agent.workspace.iterdir()) == []
    assert (await agent.call("DELETE", "files/tree"))[0] == 404


async def test_a_folder_is_not_overwritten_by_a_file(agent: AgentProcess) -> None:
    """It would take what is in it away."""
    await agent.value("PUT", "files/folder/a", b"x")
    assert (await agent.call("PUT", "files/folder", b"x"))[0] == 409
    assert (await agent.call("PUT", "files/folder/a/b", b"x"))[0] == 409
    assert sorted(os.listdir(agent.workspace)) == ["folder"]


async def test_large_files_stream(agent: AgentProcess) -> None:
    """Sixty-four megabytes up and down again, the same bytes."""
    content = os.urandom(1 << 20) * 64
    await agent.value("PUT", "files/large", content)
    assert await agent.call("GET", "files/large") == (200, content)


async def test_the_archive_holds_everything(agent: AgentProcess) -> None:
    """A tar of files and folders, with names of any bytes and no links."""
    names = [*(quote(name, safe="/") for name in NAMES), "bad%FF.bin", "long/" + "n" * 200]
    for name in names:
        await agent.value("PUT", f"files/{name}", name.encode())
    (agent.workspace / "link").symlink_to("/etc/passwd")
    (agent.workspace / "empty").mkdir()
    _, body = await agent.call("GET", "archive")
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as tar:
        files = {quote(os.fsencode(one.name), safe="/"): one for one in tar if one.isfile()}
        assert set(files) == set(names)
        for name, member in files.items():
            extracted = tar.extractfile(member)
            assert extracted is not None
            assert extracted.read() == name.encode()
        assert "empty" in tar.getnames()
        assert "link" not in tar.getnames()


async def test_changed_files_are_named_once(agent: AgentProcess) -> None:
    """New, rewritten and renamed files of a cell; not those of the cell before."""
    await agent.run("open('first one.txt', 'w').write('1')")
    result = await agent.run(
        "import os\nos.makedirs('d', exist_ok=True)\nopen('d/new', 'w').write('22')\n"
        "os.rename('first one.txt', 'moved')\nos.symlink('/etc/passwd', 'link')"
    )
    assert result.changed == {"d/new": 2, "moved": 1}
    assert (await agent.run("pass")).changed == {}
    assert (await agent.run("open('moved', 'a').write('x')")).changed == {"moved": 2}


async def test_what_the_service_puts_is_not_a_change(agent: AgentProcess) -> None:
    """Unless the cell changes it afterwards."""
    await agent.value("PUT", "files/given", b"1")
    assert (await agent.run("open('given').read()")).changed == {}
    assert (await agent.run("open('given', 'w').write('123')")).changed == {"given": 3}


async def test_the_changes_of_a_cell_are_bounded(agent: AgentProcess) -> None:
    """A thousand are named; that there are more is said."""
    result = await agent.run("for n in range(1200): open(f'{n:04}', 'w').close()")
    assert len(result.changed) == 1000
    assert result.end["changes_truncated"] is True


async def test_resources_are_counted(agent: AgentProcess) -> None:
    """Processes, their memory and time, and the bytes in the workspace."""
    await agent.value("PUT", "files/data", b"x" * 1_000_000)
    resources = await agent.value("GET", "resources")
    assert resources["pids"] >= 3
    assert resources["workspace_bytes"] >= 1_000_000
    assert resources["memory_bytes"] > 10_000_000
    assert resources["cpu_s"] > 0


async def test_changed_files_with_long_names_are_as_many_as_fit(agent: AgentProcess) -> None:
    """The last line of an execution is bounded, whatever its files are called."""
    code = (
        "import os\n"
        "here = os.getcwd()\n"
        "for _ in range(12):\n"
        "    os.mkdir('é' * 120)\n"
        "    os.chdir('é' * 120)\n"
        "for n in range(200):\n"
        "    open(str(n), 'w').close()\n"
        "os.chdir(here)\n"
    )
    result = await agent.run(code)
    assert 0 < sum(map(len, result.changed)) <= 1024 * 1024
    assert 0 < len(result.changed) < 200
    assert result.end["changes_truncated"] is True
