"""Files of the workspace up and down, and what an execution made on this machine's disk."""

import io
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox_service.client import ProtocolError, SandboxClient, ServiceUnreachable, Session
from sandbox_service.client.saving import LONGEST_NAME_BYTES, claim, safe_path
from tests.support.fakes import SteppedClock
from tests.support.rest_faults import (
    BreaksStreams,
    FailsFirst,
    Faulty,
    KeepsKeys,
    LosesFirstAnswers,
    answers,
    client_options,
    is_not_there,
)

PNG = "iVBORw0KGgo="


async def session_over(transport: Faulty) -> Session:
    client = SandboxClient(**client_options(transport), clock=SteppedClock())
    return client.session("sess_1")


def service_with_session(**options: Any) -> KeepsKeys:
    service = KeepsKeys(**options)
    service._open({})
    return service


async def chunks() -> AsyncIterator[bytes]:
    yield b"1,"
    yield b"2"


def lazy_chunks() -> Iterator[bytes]:
    yield from (b"1,", b"2")


@pytest.mark.parametrize(
    ("kind", "name", "stored"),
    [
        ("path", None, "a b.csv"),
        ("text", None, "a b.csv"),
        ("path", "sub/x.csv", "sub/x.csv"),
        ("bytes", "x.csv", "x.csv"),
        ("open file", None, "a b.csv"),
        ("open file", "y.csv", "y.csv"),
        ("memory", "x.csv", "x.csv"),
        ("chunks", "x.csv", "x.csv"),
        ("lazy chunks", "x.csv", "x.csv"),
    ],
)
async def test_a_file_is_uploaded_from_whatever_holds_it(
    kind: str, name: str | None, stored: str, tmp_path: Path
) -> None:
    """Under its own name, or the one given."""
    path = tmp_path / "a b.csv"
    path.write_bytes(b"1,2")
    session = await session_over(Faulty(service := service_with_session()))
    with path.open("rb") as file:
        sources = {
            "path": path,
            "text": str(path),
            "bytes": b"1,2",
            "open file": file,
            "memory": io.BytesIO(b"1,2"),
            "chunks": chunks(),
            "lazy chunks": lazy_chunks(),
        }
        entry = await session.upload(sources[kind], name)
    assert (entry.path, entry.size) == (stored, 3)
    assert service.sessions["sess_1"].files == {stored: b"1,2"}


@pytest.mark.parametrize("source", [b"x", io.BytesIO(b"x"), [b"x"], chunks()])
async def test_what_has_no_name_needs_one(source: Any) -> None:
    """Said before anything is sent."""
    transport = Faulty(service_with_session())
    session = await session_over(transport)
    with pytest.raises(ValueError, match="name"):
        await session.upload(source)
    assert transport.sent == []


async def test_a_file_that_is_open_as_text_is_refused() -> None:
    """It has no bytes."""
    session = await session_over(Faulty(service_with_session()))
    with pytest.raises(TypeError, match="binary"):
        await session.upload(io.StringIO("x"), "x.txt")  # type: ignore[arg-type]


async def test_an_open_file_is_sent_from_where_it_stands_each_time() -> None:
    """The second attempt sends the same bytes."""
    session = await session_over(LosesFirstAnswers(service := service_with_session(), times=2))
    file = io.BytesIO(b"head,body")
    file.seek(5)
    await session.upload(file, "x")
    assert service.sessions["sess_1"].files == {"x": b"body"}


async def test_what_can_be_read_only_once_is_sent_once() -> None:
    """A second attempt would send nothing, or a rest."""
    transport = LosesFirstAnswers(service_with_session())
    session = await session_over(transport)
    with pytest.raises(ServiceUnreachable):
        await session.upload(chunks(), "x")
    assert len(transport.sent) == 1


async def test_what_was_never_sent_can_be_sent_once_more() -> None:
    """Nobody listened, so nothing of it was read."""
    transport = FailsFirst(service := service_with_session(), is_not_there)
    session = await session_over(transport)
    await session.upload(chunks(), "x")
    assert service.sessions["sess_1"].files == {"x": b"1,2"}


async def test_a_download_is_whole_or_not_there(tmp_path: Path) -> None:
    """Bytes, or a file; a failure leaves nothing behind."""
    service = service_with_session()
    service.sessions["sess_1"].files["a.csv"] = b"1,2"
    session = await session_over(FailsFirst(service, answers(503)))
    assert await session.download("a.csv") == b"1,2"
    assert (await session.download_to("a.csv", tmp_path / "a")).read_bytes() == b"1,2"
    assert (await session.archive_to(tmp_path / "all.tar")).read_bytes() == b"1,2"
    with pytest.raises(Exception, match="file_not_found"):
        await session.download_to("b.csv", tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "all.tar"]


async def test_an_artifact_is_found_by_its_id_and_deleted() -> None:
    """Its session may be over."""
    service = service_with_session()
    made = service.add_artifact("a.csv", b"1")
    client = SandboxClient(**client_options(Faulty(service)))
    artifact = await client.artifact(made["id"])
    assert (artifact.path, await artifact.read()) == ("a.csv", b"1")
    await artifact.delete()
    assert service.artifacts == {}


def figure(code: str) -> list[dict[str, Any]]:
    data = {"image/png": PNG, "text/plain": "<Figure>"}
    return [{"output_type": "display_data", "data": data, "metadata": {}}] * 2


async def test_a_result_saves_its_files_and_pictures(tmp_path: Path) -> None:
    """Sub-folders are kept, pictures are numbered; over broken connections too."""
    service = service_with_session(new_kernel=lambda: figure)
    made = [service.add_artifact(name, name.encode()) for name in ("a.csv", "sub/b.csv")]
    service.patch = lambda execution: execution["artifacts"].extend(made)
    session = await session_over(BreaksStreams(service))
    saved = await (await session.execute("")).save(tmp_path / "out")
    names = [str(path.relative_to(tmp_path / "out")) for path in saved]
    assert names == ["a.csv", "sub/b.csv", "image-1.png", "image-2.png"]
    assert (tmp_path / "out" / "sub" / "b.csv").read_bytes() == b"sub/b.csv"
    assert stat.S_IMODE(saved[0].stat().st_mode) == 0o644


async def test_saving_twice_replaces_nothing(tmp_path: Path) -> None:
    """What is there stays; the new ones get numbers."""
    service = service_with_session(new_kernel=lambda: figure)
    made = service.add_artifact("a.csv", b"1")
    service.patch = lambda execution: execution["artifacts"].append(made)
    result = await (await session_over(Faulty(service))).execute("")
    (tmp_path / "a.csv").write_bytes(b"mine")
    await result.save(tmp_path)
    await result.save(tmp_path)
    names = ["a-2.csv", "a-3.csv", "a.csv", *(f"image-{n}.png" for n in ("1-2", 1, "2-2", 2))]
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    assert (tmp_path / "a.csv").read_bytes() == b"mine"


async def test_a_file_that_does_not_arrive_whole_leaves_nothing(tmp_path: Path) -> None:
    """Not even its empty place."""
    service = service_with_session()
    made = service.add_artifact("a.csv", b"1")
    service.patch = lambda execution: execution["artifacts"].append(made)
    result = await (await session_over(Faulty(service))).execute("")
    service.artifacts[made["id"]] = b"other"
    with pytest.raises(ProtocolError):
        await result.save(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.csv", "a.csv"),
        ("sub/a.csv", "sub/a.csv"),
        ("../up.txt", "up.txt"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("a/./../b", "a/b"),
        (".hidden", ".hidden"),
        ("a//b/", "a/b"),
        ("", "file"),
        ("..", "file"),
        ("nul\0byte", "nul_byte"),
        ("line\nbreak", "line_break"),
        ('C:\\x?"<>|*', "C__x______"),
        ("half\ud83d", "half_"),
        ("naïve 100%.csv", "naïve 100%.csv"),
    ],
)
def test_names_of_a_sandbox_become_names_of_this_machine(name: str, safe: str) -> None:
    """The nearest that stays below its directory and that any file system takes."""
    assert str(safe_path(name)) == safe


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "é" * 300 + ".csv", "x." + "y" * 300])
def test_long_names_are_cut(name: str, tmp_path: Path) -> None:
    """The ending stays, if it is one."""
    path = claim(tmp_path, name)
    assert len(path.name.encode()) <= LONGEST_NAME_BYTES
    assert path.suffix == ".csv" or not name.endswith(".csv")


def test_links_that_lie_in_the_directory_are_not_followed(tmp_path: Path) -> None:
    """Neither one in place of a folder, nor one in place of the file."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "sub").symlink_to(outside)
    (inside / "a.csv").symlink_to(outside / "a.csv")
    assert claim(inside, "sub/a.csv") == inside / "sub-2" / "a.csv"
    assert claim(inside, "a.csv") == inside / "a-2.csv"
    assert os.listdir(outside) == []


def test_a_file_in_place_of_a_folder_is_left_alone(tmp_path: Path) -> None:
    """The folder gets a number."""
    (tmp_path / "sub").write_bytes(b"a file")
    assert claim(tmp_path, "sub/a.csv") == tmp_path / "sub-2" / "a.csv"
