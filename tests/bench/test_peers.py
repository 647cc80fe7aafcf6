"""How peers are measured: in turns with us, each time as if it were the first."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.bench.peers import __main__ as peers
from tests.bench.peers.results import PEERS, Found, Peer, Results


async def test_every_round_has_databases_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a peer left behind in one round is not there in the next."""
    found: Found = {"runs": {"executions/s": 1.0}, "chain": {"steps/s": 1.0}}

    async def ask(python: Path, peer: Peer, servers: peers.Servers, seconds: float) -> Found:
        database, _ = await servers.empty()
        connection = await asyncpg.connect(database)
        await connection.execute("CREATE TABLE left_behind (n int)")
        await connection.close()
        return found

    async def ours(folder: Path, seconds: float) -> dict[Peer, Any]:
        return {peers.OURS: found}

    monkeypatch.setattr(peers, "_ask", ask)
    monkeypatch.setattr(peers, "measured", ours)
    results = Results(1.0, 2, versions={})
    await peers._measure(Path("python"), PEERS[:2], results)
    assert {name: len(each) for name, each in results.found.items() if each} == {
        PEERS[0].name: 2,
        PEERS[1].name: 2,
        peers.OURS.name: 2,
    }
