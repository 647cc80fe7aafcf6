"""Dramatiq's side of the worker: its actors, and the event loop they run on."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import dramatiq
from dramatiq import asyncio as dramatiq_asyncio
from dramatiq.asyncio import EventLoopThread, async_to_sync, set_event_loop_thread

from shared.broker import StepBroker, decode_references
from shared.lanes import CAME_AS_BULK, LANES, Lane, Reference

#: Seconds after which a busy thread lets another run. A message goes through three threads, and each hand-over takes as
#: long as that while the loop is busy; Python's default is 5 ms.
_SWITCH_SECONDS = 0.001

Take = Callable[[Sequence[Reference]], Awaitable[None]]


class MainLoop(EventLoopThread):
    """Lets async actors run on the loop the process already has, instead of on a thread of Dramatiq's own.

    The pool, the heartbeat and the effects live on that loop, and the heartbeat must stop when it does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(logging.getLogger(__name__))
        self.loop.close()
        self.loop = loop


def declare(broker: StepBroker, loop: asyncio.AbstractEventLoop, take: Take) -> None:
    """Make one actor per lane; each hands the references of a message to ``take`` on ``loop``.

    The message is acknowledged when ``take`` returns. An error is not retried by Dramatiq: the lease and rescue are
    what brings steps back.
    """
    set_event_loop_thread(MainLoop(loop))
    sys.setswitchinterval(_SWITCH_SECONDS)
    for lane in LANES.values():
        make = dramatiq.actor(actor_name=lane.queue, queue_name=lane.queue, priority=lane.rank, broker=broker)
        make(async_to_sync(_body(take, lane)))


def withdraw() -> None:
    """Forget the loop; call when the Dramatiq worker has stopped."""
    dramatiq_asyncio.set_event_loop_thread(None)


def _body(take: Take, lane: Lane) -> Callable[[Sequence[Sequence[Any]]], Awaitable[None]]:
    async def actor(wire: Sequence[Sequence[Any]]) -> None:
        CAME_AS_BULK.set(lane.bulk)  # the call has a context of its own
        await take(decode_references(wire))

    return actor
