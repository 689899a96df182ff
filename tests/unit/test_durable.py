"""What is told as kept is on the disk by then."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from sandbox_service.durable_files import sync
from sandbox_service.files.blobs import DirectoryBlobStore
from sandbox_service.store.memory.syncing import Syncer


class Witness:
    """Syncs, and writes down what was synced and which names were there then."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.seen: list[tuple[str, list[str]]] = []

    def __call__(self, path: Path) -> None:
        names = [one.name for one in self._root.rglob("*") if one.is_file()]
        self.seen.append(("directory" if path.is_dir() else "draft", names))
        sync(path)


async def one_chunk() -> AsyncIterator[bytes]:
    yield b"1,2"


async def test_bytes_are_synced_before_their_name_and_the_name_before_it_is_told(
    tmp_path: Path,
) -> None:
    witness = Witness(tmp_path)
    await DirectoryBlobStore(tmp_path, witness).put("kept", one_chunk(), 100)
    [(first, before), (second, after)] = witness.seen
    assert (first, second) == ("draft", "directory")
    assert [name.endswith(".draft") for name in before] == [True]
    assert after == ["kept"]


def test_a_log_is_synced_once_for_many_lines_and_at_its_end(tmp_path: Path) -> None:
    synced: list[int] = []

    def note(file: int) -> None:
        synced.append(os.fstat(file).st_size)

    failures: list[OSError] = []
    syncer = Syncer(failures.append, note)
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    for _ in range(1000):
        os.write(file, b"x")
        syncer.want(file)
    syncer.close()
    os.close(file)
    assert synced[-1] == 1000
    assert len(synced) < 100
    assert failures == []
