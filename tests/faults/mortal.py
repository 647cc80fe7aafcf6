"""A worker that dies at a chosen point: from then on nothing of it reaches the world, as after SIGKILL.

Nothing in the product knows of it. The worker gets a pool, an announcer and effects that pass *points*: before a
statement is sent, while it is under way, when it was carried out and its answer is lost; before and after messages are
sent; before and after an effect is made. At the fatal point everything of the worker freezes, and `bury` ends its tasks
with every way out of them closed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from shared.lanes import Doorbell
from shared.nodes.registry import Registry
from shared.queries import load, tables
from tests.engine import Engine

#: What a statement is called, by its text.
_NAMES = {text: name for table in tables() for name, text in load(table).items()}
#: Statements that write: one that was under way when its worker died may still be carried out, at any later time.
_WRITES = {"commit", "claim", "release", "put_back"}
#: Sends a statement.
Send = Callable[[], Awaitable[Any]]


class Grave:
    """Counts the points that a worker passes, and stops everything of it at one.

    Args:
        fatal: the number of the point to die at, from 1; 0 to live.

    Attributes:
        passed: the names of the points so far.
        dead: set from the fatal point on.
        under_way: carries out the statement that was sent and not yet carried out at death, if there was one.
        under_claim: how many units that has, if it is a commit which holds its steps under claims only; else 0.
        sent: statements that are being carried out.
    """

    def __init__(self, fatal: int = 0) -> None:
        self.fatal = fatal
        self.passed: list[str] = []
        self.dead = asyncio.Event()
        self.under_way: Send | None = None
        self.under_claim = 0
        self.sent: set[asyncio.Future[Any]] = set()
        self._buried = False

    def is_fatal(self, name: str) -> bool:
        """Pass a point; whether the worker is dead then."""
        if not self.dead.is_set():
            self.passed.append(name)
            if len(self.passed) == self.fatal:
                self.dead.set()
        return self.dead.is_set()

    async def point(self, name: str) -> None:
        """Pass a point; does not return if it is fatal, or if the worker died elsewhere."""
        if self.is_fatal(name):
            await self.freeze()

    async def launch(self, name: str, send: Send, *, under_claim: int) -> None:
        """Like `point`; if this is the fatal one, the statement stays under way."""
        alive = not self.dead.is_set()
        if self.is_fatal(name):
            if alive:
                self.under_way, self.under_claim = send, under_claim
            await self.freeze()

    async def freeze(self) -> None:
        """Stop here: until the burial nothing happens, and from then on only the way out is left."""
        if not self._buried:
            await asyncio.Event().wait()
        raise asyncio.CancelledError

    async def bury(self, others: set["asyncio.Task[Any]"]) -> None:
        """End all tasks but the others and the caller's; whatever they do on their way out reaches nobody."""
        self.dead.set()
        if self.sent:
            await asyncio.wait(self.sent)
        self._buried = True
        keep = others | {asyncio.current_task()}
        while left := {task for task in asyncio.all_tasks() - keep if not _gives_back(task)}:
            for task in left:
                task.cancel()
            await asyncio.wait(left)


def _gives_back(task: "asyncio.Task[Any]") -> bool:
    """Whether a task is the pool's own and gives a connection back, for which the pool would wait for ever."""
    return getattr(task.get_coro(), "__qualname__", "").startswith("PoolConnectionHolder.")


class MortalConnection:
    """Statements that pass points; one transaction's, or a pool's, each in a transaction of its own."""

    def __init__(self, connection: Any, grave: Grave, *, in_transaction: bool = False) -> None:
        self._connection = connection
        self._grave = grave
        self._in_transaction = in_transaction

    async def fetch(self, query: str, *args: Any) -> Any:
        return await self._through(query, lambda: self._connection.fetch(query, *args), args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        return await self._through(query, lambda: self._connection.fetchrow(query, *args), args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await self._through(query, lambda: self._connection.fetchval(query, *args), args)

    async def execute(self, query: str, *args: Any) -> Any:
        return await self._through(query, lambda: self._connection.execute(query, *args), args)

    async def _through(self, query: str, send: Send, args: Sequence[Any]) -> Any:
        name = _NAMES[query]
        about = f"{name} {','.join(args[1])}" if name in {"commit", "claim", "load"} else name
        await self._grave.point(f"{about}: not sent")
        if name in _WRITES and not self._in_transaction:
            under_claim = len(args[3] or []) if name == "commit" and None not in (args[3] or []) else 0
            await self._grave.launch(f"{about}: under way", send, under_claim=under_claim)
        answer = await self._carry_out(send)
        await self._grave.point(f"{about}: not answered")
        return answer

    async def _carry_out(self, send: Send) -> Any:
        """Like a server, carry out what was sent whatever becomes of the sender."""
        sending = asyncio.ensure_future(send())
        self._grave.sent.add(sending)
        sending.add_done_callback(self._grave.sent.discard)
        return await asyncio.shield(sending)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction that is rolled back if the worker dies before its end is sent."""
        transaction = self._connection.transaction()
        await transaction.start()
        self._in_transaction = True
        try:
            yield
            await self._grave.point("end of a transaction: not sent")
        except BaseException:
            await asyncio.shield(transaction.rollback())
            raise
        await self._carry_out(transaction.commit)
        await self._grave.point("end of a transaction: not answered")


class MortalPool(MortalConnection):
    """A pool of such connections."""

    def __init__(self, pool: asyncpg.Pool, grave: Grave) -> None:
        super().__init__(pool, grave)
        self._pool = pool

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[MortalConnection]:
        """A connection for a while."""
        async with self._pool.acquire() as connection:
            yield MortalConnection(connection, self._grave)


class Mortal:
    """A worker that dies at its fatal point; `engine` is what is in it."""

    def __init__(self, engine: Engine, grave: Grave) -> None:
        self.engine = engine
        self.grave = grave
        self._announce = engine.mailbox.announce
        engine.mailbox.announce = self._announce_mortally  # type: ignore[method-assign]

    def _announce_mortally(self, doorbells: Sequence[Doorbell]) -> None:
        if not doorbells or self.grave.is_fatal(f"announce {_names(doorbells)}: not sent"):
            return
        self._announce(doorbells)
        self.grave.is_fatal(f"announce {_names(doorbells)}: sent")

    @classmethod
    @asynccontextmanager
    async def living(
        cls, url: str, pool: asyncpg.Pool, known: Registry, grave: Grave, *, lease: float = 600.0
    ) -> AsyncIterator["Mortal"]:
        """A worker with an incarnation of its own; in the end it is dead and buried, wherever it was."""
        others: set[asyncio.Task[Any]] = asyncio.all_tasks()
        mortal_pool: Any = MortalPool(pool, grave)
        engine = Engine(url, mortal_pool, pool, known, lease, slots=64)
        mortal = cls(engine, grave)
        await engine.incarnation.start()
        heartbeat = engine.incarnation._task
        assert heartbeat is not None
        heartbeat.cancel()  # no beat is due before this lease ends
        try:
            yield mortal
        finally:
            await grave.bury(others)
            engine.incarnation._abandon_connection()  # its socket closes; it does not retire

    async def survives(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do something of this worker's until it is done or the worker is dead; whether it lives."""
        doing = asyncio.ensure_future(work)
        dying = asyncio.ensure_future(self.grave.dead.wait())
        done, _ = await asyncio.wait({doing, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if doing in done:
            doing.result()
        return not self.grave.dead.is_set()


def _names(doorbells: Sequence[Doorbell]) -> str:
    return ",".join(bell.reference.node_id for bell in doorbells)
