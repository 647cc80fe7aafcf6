"""The fixtures every integration test stands on."""

import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from tests import scratch


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_gets_a_migrated_database_of_its_own(database_url: str, turn: int) -> None:
    """A row that one test writes is not there for the next, and the schema is."""
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM workspaces") == 0
        await connection.execute("CREATE TABLE left_behind (turn int)")
    finally:
        await connection.close()


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_gets_an_empty_broker(broker_url: str, turn: int) -> None:
    """A key that one test sets is not there for the next."""
    async with Redis.from_url(broker_url) as redis:
        assert await redis.dbsize() == 0
        await redis.set("left-behind", turn)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as memory with room in it."""
    monkeypatch.setattr(scratch, "_PLENTY", 0)
    return tmp_path


def test_a_folder_in_memory_is_gone_afterwards(memory: Path) -> None:
    """With all that is in it, and others' are left alone meanwhile."""
    with scratch.scratch(Path("/otherwise"), memory) as first, scratch.scratch(Path("/otherwise"), memory) as second:
        for folder in (first, second):
            assert folder.parent == memory
            (folder / "file").touch()
        assert first != second
    assert not list(memory.iterdir())


def test_what_a_killed_process_left_in_memory_is_removed(memory: Path) -> None:
    """By the next, and not while its owner lives."""
    code = f"import sys; sys.path.insert(0, {str(Path(scratch.__file__).parents[1])!r})\n"
    code += "from pathlib import Path\nfrom tests import scratch\nscratch._PLENTY = 0\n"
    code += f"with scratch.scratch(Path('/'), Path({str(memory)!r})) as folder:\n print(folder, flush=True)\n input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        left = Path(owner.stdout.readline().decode().strip())
        with scratch.scratch(Path("/otherwise"), memory):
            assert left.exists()
        owner.send_signal(signal.SIGKILL)
    assert left.exists()
    with scratch.scratch(Path("/otherwise"), memory):
        assert not left.exists()


def test_without_room_in_memory_it_is_the_other_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is none at all."""
    monkeypatch.setattr(scratch, "_PLENTY", 1 << 60)
    for memory in (tmp_path, tmp_path / "missing"):
        with scratch.scratch(tmp_path / "other", memory) as folder:
            assert folder == tmp_path / "other"
