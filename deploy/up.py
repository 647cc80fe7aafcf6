"""`edgewise up`: a `Stack`, from the command to the signal that ends it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from deploy.stack import Options, Stack

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def up(options: Options, then: Callable[[Stack], Awaitable[None]]) -> None:
    """Start everything, do ``then``, stop everything.

    The first SIGTERM, SIGHUP or Ctrl-C ends ``then``, or the start, and stops cleanly; a second one does not wait for
    steps in flight.

    Raises:
        EdgewiseError: if something does not start; what had been started is stopped again.
    """
    stack = Stack(options)
    interrupted = _on_signals(stack)
    try:
        await stack.start()
        await then(stack)
    except asyncio.CancelledError:
        if not interrupted.is_set():
            raise
    finally:
        await stack.stop()


async def serve(stack: Stack) -> None:
    """Print the line that says everything answers, and serve until told to stop."""
    print(f"ready {stack.url}", flush=True)
    await asyncio.Event().wait()


def _on_signals(stack: Stack) -> asyncio.Event:
    """Let signals cancel the current task once, then kill; the event says that one came."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    interrupted = asyncio.Event()

    def interrupt() -> None:
        if interrupted.is_set():
            stack.kill()
        elif task:
            interrupted.set()
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupt)
    return interrupted
