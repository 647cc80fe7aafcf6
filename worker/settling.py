"""Commits what walks have settled, and gives steps back that this worker does not settle."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from shared.advances import Advance
from shared.announcer import Announcer
from shared.db import DATABASE_ERRORS
from shared.lanes import Doorbell, Reference
from shared.states import RunStatus, StepStatus
from shared.store.taken import give_up, release
from shared.texts import internal_error
from worker.commits import Commits
from worker.holdings import Held
from worker.incarnation import Incarnation
from worker.isolation import Isolation, is_apart
from worker.walk import Next, Walk

_log = structlog.get_logger(__name__)

#: What Postgres says about an advance that it will not have.
_REFUSALS = (asyncpg.PostgresError, ValueError, TypeError)
#: A member of an enumeration is slow to look up, and each commit of each run asks for it.
_READY = StepStatus.READY
#: Seconds for steps to be given back.
_PATIENCE = 1.0
#: Gives claims back, one way or another.
GiveBack = Callable[[Any, Sequence[UUID], UUID], Awaitable[None]]


class Settling:
    """The way from a walk to the database.

    Attributes:
        keep_going: whether this worker may start another effect; if not, all of them are left to others.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        commits: Commits,
        held: Held,
        incarnation: Incarnation,
        announcer: Announcer,
        isolation: Isolation,
    ) -> None:
        self._pool = pool
        self._commits = commits
        self._held = held
        self._incarnation = incarnation
        self._announcer = announcer
        self._isolation = isolation
        self.keep_going = True

    async def drain(self) -> None:
        """Wait until no commit is in flight."""
        await self._commits.drain()

    def send(self, walk: Walk) -> "tuple[Advance, Next | None, asyncio.Future[bool]]":
        """Put what the walk has settled into the next commit."""
        # A walk that runs apart leaves what follows to others: those steps are not suspected.
        advance, following = walk.advance(keep_going=self.keep_going and not is_apart(walk))
        if following is not None:
            self._held.enter(following.claim_id)
        return advance, following, self._commits.enqueue(advance)

    async def written(self, walk: Walk, advance: Advance, future: "asyncio.Future[bool]") -> bool:
        """Wait for the commit of an advance, then tell others what it left to them; whether it was written."""
        try:
            written = await future
        except _REFUSALS as error:
            await self._refused(walk, advance, error)
            return False
        if advance.next_claim is not None:
            if written:
                self._held.confirm(advance.next_claim)
            else:
                self._held.leave(advance.next_claim)
        if written:
            self._announce(walk, advance)
        return written

    async def _refused(self, walk: Walk, advance: Advance, error: Exception) -> None:
        """Postgres will not have this advance, whatever it is batched with: its step fails instead of the worker.

        If it will not have that either, the run fails; and if not even that, nobody is to run the step again.
        """
        if advance.next_claim is not None:
            self._held.leave(advance.next_claim)
        await self._isolation.turn(walk, lambda: walk.fail(internal_error(error)))
        replacement, _ = walk.advance(keep_going=False)
        for attempt in (replacement, _bare(replacement, internal_error(error).message)):
            try:
                if await self._commits.enqueue(attempt):
                    self._announce(walk, attempt)
            except _REFUSALS:
                _log.exception("a failed step could not be stored", run=str(advance.run_id))
            else:
                return
        if replacement.claim_id is not None:
            await self.give_back([replacement.claim_id], give_up)

    def _announce(self, walk: Walk, advance: Advance) -> None:
        self._announcer.announce(
            [
                Doorbell(
                    Reference(advance.run_id, opening.node_id, opening.item, opening.claim_first),
                    walk.loaded.priority,
                    new=False,
                )
                for opening in advance.openings
                if opening.status == _READY
            ]
        )

    async def give_back(self, claims: Sequence[UUID], how: GiveBack = release) -> None:
        """Let go of claims in the database and then here; what does not get through is left to rescue.

        In this order: a heartbeat between the two would release what memory does not know, in its own way.
        """
        if not claims:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await how(self._pool, claims, self._incarnation.id)
        except DATABASE_ERRORS:
            _log.warning("could not give steps back; rescue will", steps=len(claims))
        finally:
            for claim_id in claims:
                self._held.leave(claim_id)


def _bare(advance: Advance, message: str) -> Advance:
    """The least that ends the run of a step that failed."""
    return advance._replace(
        results=[result for result in advance.results if result.own],
        openings=(),
        arrivals=(),
        iterations=(),
        calls=(),
        publications=(),
        item_failure=None,
        outcome=RunStatus.FAILED,
        error_message=message,
        output=None,
    )
