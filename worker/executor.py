"""The life of a reference in a worker: taken, walked, committed, and followed from effect to effect."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from shared.announcer import Announcer
from shared.apart.forker import NotStartedError
from shared.apart.processes import stopped
from shared.db import DATABASE_ERRORS
from shared.errors import StepFailedError
from shared.graph.catalogue import Mode
from shared.lanes import Doorbell, Reference
from shared.metrics import STEP_DURATION, STEP_WAIT
from shared.store.open_runs import RunLimits
from shared.store.taken import Loaded, put_back, surrender
from shared.timeouts import Timeouts
from worker.admission import Admission
from worker.calling import outcome_of
from worker.capacity import Capacity
from worker.children import Children
from worker.commits import Commits
from worker.holdings import Abort, Held, LostError
from worker.incarnation import Incarnation
from worker.isolation import Isolation, hopeless, is_apart, is_suspect
from worker.plans import Plans, UnknownNodeTypeError
from worker.publishing import Publisher
from worker.reader import Reader
from worker.settling import Settling
from worker.walk import Next, Tools, Walk

_log = structlog.get_logger(__name__)

#: Seconds at the end of a stop for what was aborted to be given back, and for commits in flight.
_LAST_WORDS = 1.0
#: The part of the grace period, and at most `_LAST_WORDS`, that is kept for it, so that the process is gone within.
_RESERVE = 0.05
#: The histogram of a component; looking it up by its label takes longer than to observe.
_durations: Final = cache(STEP_DURATION.labels)

#: Of an executor that is told none.
_ROOMY: Final = RunLimits(100_000, 100_000)


class Executor:
    """Takes references and carries their runs on until nothing is left for this worker.

    Each reference takes a slot of ``capacity`` from when it was fetched until its walk ends. ``on_answered`` is told of
    runs whose requests can be answered; past the limits of ``open_runs`` no event of a step starts another one.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        plans: Plans,
        held: Held,
        incarnation: Incarnation,
        capacity: Capacity,
        announcer: Announcer,
        tools: Tools,
        isolation: Isolation | None = None,
        on_answered: Callable[[Sequence[UUID]], None] = lambda _: None,
        open_runs: RunLimits = _ROOMY,
    ) -> None:
        self._pool = pool
        self._plans = plans
        self._held = held
        self._incarnation = incarnation
        self._capacity = capacity
        self._announcer = announcer
        self._tools = tools
        self._isolation = isolation or Isolation()
        self._reader = Reader(pool, lambda: incarnation.id)
        self._children = Children(pool, plans)
        publisher = Publisher(open_runs, tools.new_id, tools.clock.now)
        self.commits = commits = Commits(
            pool, lambda: incarnation.id, self._take_opened, self._freed, on_answered, publisher=publisher
        )
        self._settling = Settling(
            pool=pool,
            commits=commits,
            held=held,
            incarnation=incarnation,
            announcer=announcer,
            isolation=self._isolation,
        )
        self._admission = Admission(pool, announcer.announce)
        self._timeouts = Timeouts()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keep_going = True

    async def take(self, references: Sequence[Reference]) -> None:
        """Take the steps of one message; returns when each is claimed or done, so that it can be acknowledged."""
        if not self._keep_going:
            self._pass_on(references)
            self._capacity.release(len(references))
            return
        fresh = [reference for reference in references if not reference.claim]
        claims = [reference for reference in references if reference.claim]
        await asyncio.gather(
            *([self._take_fresh(fresh)] if fresh else []), *(self._take_claimed(reference) for reference in claims)
        )

    async def stop(self, grace: float) -> None:
        """Start nothing new, let steps in flight finish, and give back what is left when ``grace`` seconds end."""
        self._keep_going = self._settling.keep_going = False
        await self._settled(grace - min(_LAST_WORDS, _RESERVE * grace))
        self._isolation.close()
        self._held.abort_all(Abort.SHUTDOWN)
        await self._settled(_LAST_WORDS)
        try:
            async with asyncio.timeout(_LAST_WORDS):  # a database that is away must not hold the process
                await self._settling.drain()
        except TimeoutError:
            _log.warning("the last commits did not get through; rescue will take their steps up")
        # An effect that is not to happen again, and whose end nobody heard of, counts as crashed.
        spent = self._held.spent()
        await self._settling.give_back([claim_id for claim_id in self._held.claims() if claim_id not in spent])
        await self._settling.give_back(spent, surrender)

    async def _settled(self, seconds: float) -> None:
        """Wait until no task is left, those that join while it waits included; at most this long."""
        deadline = time.monotonic() + seconds
        while self._tasks and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)

    async def _take_fresh(self, references: Sequence[Reference]) -> None:
        """Run steps without a claim: the commit of what they lead to is the claim."""
        left = len(references)
        try:
            loaded = await self._reader.load(references)
            # What has crashed a worker, and what a limit stands before, is only begun under a claim.
            claimed = [step for step in loaded if step.crashes or step.slots < 0]
            left -= len(claimed)  # their slots go with their claims
            await asyncio.gather(*(self._take_claimed(_reference(step)) for step in claimed))
            writes = []
            for walk in await asyncio.gather(*(self._walk(step) for step in loaded if step not in claimed)):
                if walk is not None:
                    await self._isolation.pace.turn()
                    walk.start()
                    writes.append((walk, *self._settling.send(walk)))
            for walk, advance, following, written in writes:
                if await self._settling.written(walk, advance, written) and following is not None:
                    left -= 1  # its slot goes with the task
                    self._spawn(self._carry(walk, following))
        finally:
            self._capacity.release(left)

    async def _take_claimed(self, reference: Reference) -> None:
        claim_id = self._tools.new_id()
        self._held.enter(claim_id)
        loaded = None
        try:
            loaded = await self._reader.claim(reference, claim_id)
        finally:
            if loaded is None:
                self._held.leave(claim_id)
                self._capacity.release()
        if loaded is not None:
            self._held.confirm(claim_id)
            self._spawn(self._carry_claimed(loaded, claim_id))

    async def _carry_claimed(self, loaded: Loaded, claim_id: UUID) -> None:
        try:
            walk = await self._walk(loaded)
            if walk is None:
                await put_back(self._pool, [claim_id], self._incarnation.id)
                return
            if is_apart(walk):
                async with self._isolation.room:
                    await self._carry(walk, await self._begin(walk, claim_id))
            else:
                await self._carry(walk, await self._begin(walk, claim_id))
        except LostError:
            await self._settling.give_back([claim_id])
        except NotStartedError as error:
            _log.warning("a step could not run apart; it is left to another worker", reason=str(error))
            await self._settling.give_back([claim_id], put_back)
        finally:
            # A claim that memory has and nobody works on would never be released, whatever broke here.
            self._held.leave(claim_id)

    async def _begin(self, walk: Walk, claim_id: UUID) -> Next | None:
        """Start with a claimed step: the effect to go on with, that of the step itself or one behind it.

        Raises:
            LostError: if the worker ended before the step was settled.
        """
        if not await self._admitted(walk, claim_id):
            return None
        loaded = walk.loaded
        failure = hopeless(loaded, walk.plan_node) if loaded.fired and not loaded.ending else None
        if failure is not None:
            await self._isolation.turn(walk, lambda: walk.fail(failure))
        elif walk.plan_node.mode is Mode.EFFECT and loaded.fired and not loaded.ending:
            return Next(walk.plan_node, claim_id, loaded.attempt)
        else:
            await self._isolation.turn(walk, walk.start)
        following = await self._go_on(walk)
        self._held.leave(claim_id)
        return following

    async def _carry(self, walk: Walk, following: Next | None) -> None:
        """Run the effect that a walk holds, then what it leads to, as long as there is another effect."""
        while following is not None:
            claim_id = following.claim_id
            try:
                await self._effect(walk, following)
                following = await self._go_on(walk)
            except LostError:
                return
            finally:
                self._held.leave(claim_id)

    async def _go_on(self, walk: Walk) -> Next | None:
        """Commit what a walk has settled; the effect it goes on with, if that was written."""
        advance, following, future = self._settling.send(walk)
        try:
            written = await self._settling.written(walk, advance, future)
        except BaseException:
            if following is not None:
                self._held.leave(following.claim_id)
            raise
        return following if written else None

    async def _effect(self, walk: Walk, step: Next) -> None:
        """Run one effect and settle it in the walk.

        Raises:
            LostError: if the step is not this worker's any more, or was given back.
        """
        entry = self._held.get(step.claim_id)
        await self._isolation.pace.turn()  # its templates are rendered first
        if not self._incarnation.is_fresh():
            await self._incarnation.fresh()
        if entry is None or self._held.get(step.claim_id) is not entry:
            raise LostError
        began = time.monotonic()
        entry.begun, entry.once = True, step.node.settings.is_once
        task = entry.task = asyncio.current_task()
        aborted = False
        try:
            ended = await outcome_of(walk, step, self._timeouts)
        except asyncio.CancelledError:
            if entry.abort is None:
                raise
            aborted = True
        finally:
            entry.task = None
            if entry.abort is not None and task is not None:
                task.uncancel()
        if aborted:
            await self._aborted(walk, step, entry.abort, time.monotonic() - began)
            return
        seconds = time.monotonic() - began
        if walk.blueprint.vault is not None:
            await walk.look_for_secrets()
        _durations(step.node.component).observe(seconds)
        await self._isolation.turn(walk, lambda: walk.settle(ended, seconds))

    async def _aborted(self, walk: Walk, step: Next, reason: Abort | None, seconds: float) -> None:
        if reason is Abort.STOPPED:
            walk.cancel(seconds)
            return
        if reason is Abort.SHUTDOWN and step.node.settings.is_once:
            await self._isolation.turn(walk, lambda: walk.settle(stopped(), seconds))
            return
        if reason is Abort.SHUTDOWN:
            await self._settling.give_back([step.claim_id])
        raise LostError

    async def _walk(self, loaded: Loaded) -> Walk | None:
        """A walk that starts with this step; None if this worker cannot run its workflow, and a newer one may.

        Raises:
            DATABASE_ERRORS: if what it needs could not be read.
        """
        if loaded.sent_at is not None:
            STEP_WAIT.observe(max(0.0, self._tools.clock.time() - loaded.sent_at.timestamp()))
        try:
            blueprint = await self._plans.get(loaded.workflow_id, loaded.version)
            loaded = await self._children.bring(loaded)
            outputs: dict[str, Any] = {}
            if loaded.node_id != blueprint.plan.trigger:
                outputs = await self._reader.context(loaded, blueprint)
            if is_suspect(loaded, blueprint.plan):
                blueprint = self._isolation.around(blueprint, loaded)
            walk = Walk(loaded, blueprint, outputs, self._tools)
            if blueprint.vault is not None:
                await walk.look_for_secrets()
        except DATABASE_ERRORS:
            raise
        except (UnknownNodeTypeError, LookupError) as error:
            _log.warning("step left to another worker", workflow=str(loaded.workflow_id), reason=str(error))
        except Exception:  # noqa: BLE001 — a definition that breaks here must not take its neighbours with it
            _log.exception("step left to another worker", workflow=str(loaded.workflow_id))
        else:
            return walk
        return None

    async def _admitted(self, walk: Walk, claim_id: UUID) -> bool:
        """Whether a run of a limited workflow may begin; if not, it waits, or has ended."""
        if walk.loaded.slots >= 0 or walk.loaded.ending:
            return True
        try:
            verdict = await self._admission.enter(walk.loaded.run_id, claim_id, walk.concurrency_key())
        except StepFailedError as error:
            walk.settle(error, 0.0)
            await self._go_on(walk)
            return False
        if verdict == "skipped":
            walk.skip_run("Not run: its workflow had max_concurrent_runs runs under way, and on_limit is skip.")
            await self._go_on(walk)
        return verdict == "entered"

    def _freed(self, run_ids: Sequence[UUID]) -> None:
        """Runs ended that others of their workflow may have waited for."""
        self._spawn_unslotted(self._admission.freed(run_ids))

    def _take_opened(self, bells: Sequence[Doorbell]) -> None:
        """Joins, items and iterators that a commit made ready go on here: their last arrival was this worker's."""
        references = [bell.reference for bell in bells if not bell.new]
        if self._keep_going and references:
            self._capacity.take(len(references))
            self._spawn_unslotted(self._take_fresh(references))
        self._announcer.announce([bell for bell in bells if bell.new or not self._keep_going])

    def _pass_on(self, references: Sequence[Reference]) -> None:
        """Leave steps to other workers, now that this one stops; which lane they came by is not known any more."""
        self._announcer.announce([Doorbell(reference, 1, new=False) for reference in references])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._spawn_unslotted(work)
        task.add_done_callback(lambda _: self._capacity.release())

    def _spawn_unslotted(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a step broke outside its node; rescue will take it up", exc_info=task.exception())


def _reference(loaded: Loaded) -> Reference:
    """How a step is claimed."""
    return Reference(loaded.run_id, loaded.node_id, loaded.item, claim=True)
