"""Links, pipes and devices in the workspace: what the service reads for a caller is the workspace's own bytes."""

import io
import tarfile

import httpx
import pytest

from tests.security.conftest import Prisoner

TRAPS = """
import os, socket, subprocess
os.makedirs('traps/real', exist_ok=True)
os.chdir('traps')
open('real/plain.txt', 'w').write('plain')
os.symlink('/etc/passwd', 'link.txt')
os.symlink('/proc/self/environ', 'proc.txt')
os.symlink('real/plain.txt', 'inner.txt')
os.symlink('/etc', 'folder')
os.symlink('../..', 'up')
os.symlink('loop', 'loop')
os.mkfifo('pipe')
socket.socket(socket.AF_UNIX).bind('socket')
os.link('real/plain.txt', 'hard.txt')
for source in ('/etc/hostname', '/opt/sandbox/contents.json', '/run/agent/agent.sock'):
    try:
        os.link(source, 'hard-' + os.path.basename(source))
    except OSError as error:
        print('no link to', source)
os.chdir('..')
"""
SEEN = {"traps/real/plain.txt", "traps/hard.txt"}
UNREADABLE = ["link.txt", "proc.txt", "inner.txt", "folder/passwd", "up/etc/passwd", "loop", "pipe"]


@pytest.fixture(scope="module")
async def trapped(inside: Prisoner) -> dict[str, object]:
    """The execution that laid the traps, once per session."""
    await inside.run("import shutil; shutil.rmtree('traps', ignore_errors=True)")
    return await inside.run(TRAPS)


async def test_links_to_what_is_not_the_workspaces_own_are_not_made(trapped) -> None:
    """Hard links do not cross file systems."""
    [output] = trapped["outputs"]
    assert output["text"].count("no link to") == 3


async def test_only_regular_files_become_artifacts(
    trapped, inside: Prisoner, warden: httpx.AsyncClient
) -> None:
    """The plain file and its second name; and they hold what they must."""
    artifacts = {artifact["path"]: artifact for artifact in trapped["artifacts"]}
    assert artifacts.keys() == SEEN
    for artifact in artifacts.values():
        content = await warden.get(f"/v1/artifacts/{artifact['id']}/content")
        assert content.content == b"plain"


async def test_only_regular_files_are_listed(trapped, inside: Prisoner) -> None:
    """No link, pipe or socket among the files; no folder reached through a link."""
    listed = (await inside.files()).json()["data"]
    names = {entry["path"] for entry in listed if entry["path"].startswith("traps/")}
    assert names == SEEN | {"traps/real"}


async def test_only_regular_files_are_in_the_archive(trapped, inside: Prisoner) -> None:
    """Nothing that a tar reader would follow on the caller's side."""
    content = io.BytesIO((await inside.archive()).content)
    with tarfile.open(fileobj=content) as archive:
        members = [member for member in archive if member.name.startswith("traps")]
    assert {member.name for member in members if member.isfile()} == SEEN
    assert all(member.isfile() or member.isdir() for member in members)


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_is_no_file_of_the_workspace_is_not_read(
    trapped, inside: Prisoner, name: str
) -> None:
    """A refusal, at once, whatever lies behind the link."""
    answer = await inside.files(f"/traps/{name}")
    assert answer.status_code in (400, 404, 409), answer.text
    assert b"root:" not in answer.content


async def test_a_write_through_a_link_replaces_the_link(trapped, inside: Prisoner) -> None:
    """Never what it points to."""
    url = f"/v1/sessions/{inside.session_id}/files"
    answer = await inside.client.put(f"{url}/traps/inner.txt", content=b"other")
    assert answer.status_code in (200, 201), answer.text
    assert (await inside.files("/traps/inner.txt")).content == b"other"
    assert (await inside.files("/traps/real/plain.txt")).content == b"plain"
    through = await inside.client.put(f"{url}/traps/folder/made.txt", content=b"x")
    assert through.status_code in (400, 404, 409)


async def test_a_file_that_turns_into_a_link_while_it_is_read(inside: Prisoner) -> None:
    """Swapped as fast as it can be, it is read as the file or not at all."""
    await inside.run(SWAPPING)
    answers = [await inside.files("/swap.txt") for _ in range(100)]
    await inside.run("swapper.kill(); swapper.wait()")
    bodies = {answer.content for answer in answers if answer.status_code == 200}
    assert bodies <= {b"mine"}
    assert {answer.status_code for answer in answers} <= {200, 400, 404, 409}


SWAPPING = """
import subprocess, sys
program = '''
import os
while True:
    with open("fresh.tmp", "w") as file: file.write("mine")
    os.rename("fresh.tmp", "swap.txt")
    os.symlink("/etc/passwd", "fresh.lnk")
    os.rename("fresh.lnk", "swap.txt")
'''
swapper = subprocess.Popen([sys.executable, "-c", program])
"""
