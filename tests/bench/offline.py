"""The database of an installation without anything else: a server for loading what nobody wants to wait for."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.embedded import Postgres
from deploy.folder import Folder
from deploy.ports import Ports


class _LoadingPostgres(Postgres):
    """Writes no WAL for tables that are loaded whole, flushes nothing, and leaves vacuuming to the loader."""

    def prepare(self) -> None:
        super().prepare()
        with (self._folder / "postgres" / "postgresql.conf").open("a") as settings:  # of two lines the later one holds
            settings.write("wal_level = minimal\nmax_wal_senders = 0\nmax_wal_size = 16GB\nautovacuum = off\n")
            settings.write(
                "shared_buffers = 512MB\nmaintenance_work_mem = 256MB\nmax_parallel_maintenance_workers = 0\n"
            )


@asynccontextmanager
async def offline(path: Path) -> AsyncIterator[str]:
    """The URL of the database in the folder of an installation that is stopped; at the end all of it is on disk."""
    folder, ports = Folder(path), Ports()
    server = _LoadingPostgres(folder.path, ports.any(), folder.password("postgres"), durable=False)
    server.prepare()
    process = server.spawn()
    try:
        await asyncio.to_thread(server.wait_ready, process)
        yield server.url
    finally:
        process.send_signal(server.stop_signal)
        await asyncio.to_thread(process.wait)
        ports.release()
        folder.close()
    await asyncio.to_thread(os.sync)
