"""Runs single calls of nodes in child processes: this side of `shared.apart.isolated`."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final
from weakref import WeakSet

import msgspec

from shared.apart.forker import Forker, NotStartedError
from shared.apart.isolated import GRANT_WANTED, KEPT, READY, USES, Request, timed_out
from shared.errors import StepFailedError
from shared.jsontext import decode, encode, to_bytes
from shared.nodes import base
from shared.nodes.base import Authorization, Grant, StepContext

#: The program that forks, before its argument.
COMMAND: Final = (sys.executable, "-P", "-m", "shared.apart.isolated")
#: Seconds that a child has to answer, besides an effect's own timeout.
PATIENCE: Final = 30.0
#: No `Retry.on` names it: crashes do not use attempts up, and are not tried again by them.
CRASH: Final = "crash"
#: Bytes that an answer may have besides what its request allows: what it stands in, and the line with the status.
_ROOM: Final = 64 * 1024
_PIECE: Final = 256 * 1024
#: Seconds that it has to start.
_START: Final = 60.0
#: How often a call is made anew because it needs a grant: one, and another should the API refuse that.
_GRANTS: Final = 2


def crashed(message: str) -> StepFailedError:
    """The failure of a step that a crash ended."""
    return StepFailedError("worker_crashed", message, category=CRASH)


def stopped() -> StepFailedError:
    """The failure of a step that a worker aborted at its end, and that is not to be called again."""
    message = 'The worker was stopped before the step ended; "on_crash": "fail" forbids another call.'
    return StepFailedError("worker_stopped", message, category=CRASH)


class Processes:
    """Runs calls in child processes. Belongs to the event loop it is made on, whose thread starts the children.

    Args:
        command: the program, before its argument; it answers as `shared.apart.isolated` does.
        egress_allow, egress_proxy: as configured.
        patience: see `PATIENCE`.
        idle: seconds without a call after which what forks is ended; None: it stays.
    """

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        egress_allow: str = "",
        egress_proxy: str = "",
        patience: float = PATIENCE,
        idle: float | None = None,
    ) -> None:
        self._command = [*command, str(os.getpid())]
        self._egress = {"egress_allow": egress_allow, "egress_proxy": egress_proxy}
        self._patience = patience
        self._idle = idle
        self._rest: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._forker: Forker | None = None
        #: Those that calls are under way in, and no further ones begin.
        self._retired: WeakSet[Forker] = WeakSet()
        self._starting = asyncio.Lock()
        self._running: set[int] = set()
        self.is_closed = False

    def close(self) -> None:
        """Kill the children, and start none any more."""
        self.is_closed = True
        if self._rest is not None:
            self._rest.cancel()
        for child in self._running:
            _kill(child)
        self._end_forker()
        for forker in list(self._retired):
            forker.close()

    async def perform(self, request: Request, seconds: float, context: StepContext | None = None) -> Any:
        """Run one request in a child; once more with a grant if it needs one, and with another if that is refused.

        Args:
            request: what to call.
            seconds: the child's own time limit, and that of getting a grant.
            context: of a step that may present secrets. A child has no database, so grants are handed to it, and it
                tells what it uses.

        Raises:
            StepFailedError: what the node failed with; ``worker_crashed`` if the child ended without an answer;
                ``authorization_refused`` if the node refuses one grant after the other.
            NotStartedError: if the child was not there for the node.
        """
        authorization = None if context is None else context.authorization
        for _ in range(1 + _GRANTS):
            try:
                return await self._perform(request, seconds, context)
            except StepFailedError as error:
                if authorization is None or error.code != GRANT_WANTED:
                    raise
            # Where a token was renewed in vain, this says so, and that is kept with the authorization.
            request = msgspec.structs.replace(request, grant=await _granted(authorization, request.grant, seconds))
        message = f"The node refused {_GRANTS} grants of its authorization, one after the other."
        raise StepFailedError("authorization_refused", message, category="authorization")

    async def _perform(self, request: Request, seconds: float, context: StepContext | None) -> Any:
        request = msgspec.structs.replace(request, **self._egress)
        text = to_bytes(encode(msgspec.to_builtins(request))) + b"\n"
        uses = None if context is None else context.uses_secret
        if self.is_closed:
            raise stopped()
        with self._awake():
            forker = await self._forked()
            with forker.in_use():
                try:
                    answer = await self._asked(forker, text, seconds + self._patience, request.largest + _ROOM, uses)
                except NotStartedError:
                    self._retire(forker)
                    raise
        if self.is_closed:
            raise stopped()  # it did not crash: it was killed
        return _read(answer)

    @contextmanager
    def _awake(self) -> Iterator[None]:
        """What forks is kept while a call is under way, and rests some time after the last."""
        self._under_way += 1
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        try:
            yield
        finally:
            self._under_way -= 1
            if self._idle is not None and not self._under_way and not self.is_closed:
                self._rest = asyncio.get_running_loop().call_later(self._idle, self._end_forker)

    def _retire(self, forker: Forker) -> None:
        """Start the next call elsewhere, whatever this one has; calls that it has started are others' and go on."""
        if self._forker is forker:
            self._forker = None
            self._retired.add(forker)
        forker.retire()

    def _end_forker(self) -> None:
        if self._forker is not None:
            self._forker.close()

    async def _asked(
        self,
        forker: Forker,
        text: bytes,
        patience: float,
        most: int,
        uses: Callable[[str], Awaitable[None]] | None,
    ) -> bytes:
        """What a fork answers, and the line with its status; one that says more than ``most`` bytes is killed."""
        answers, requests = await forker.connect()
        child = 0
        try:
            child = await _started(answers, requests, text)
            self._running.add(child)
            return await _all(answers, requests, patience, most, uses)
        except TimeoutError:
            raise crashed("The step hangs: it did not end in a process of its own, and was killed.") from None
        finally:
            self._running.discard(child)
            if child:
                _kill(child)
                os.close(child)
            requests.close()

    async def _forked(self) -> Forker:
        """What starts children; it is started with the first, and again should it have died."""
        async with self._starting:
            if self._forker is None or self._forker.is_gone:
                if self._forker is not None:
                    self._forker.close()
                try:
                    self._forker = Forker.start(self._command)
                except OSError as error:
                    raise NotStartedError(str(error)) from error
            return self._forker


def fields_of(context: msgspec.Struct | None) -> dict[str, Any] | None:
    """The fields of a `StepContext` or a `TriggerContext` as a `Request` takes them."""
    if context is None:
        return None
    names = [name for name in context.__struct_fields__ if name not in {"egress", "uses_secret", "authorization"}]
    return {name: msgspec.to_builtins(getattr(context, name)) for name in names}


async def _granted(authorization: Authorization, refused: Grant | None, seconds: float) -> Grant:
    """A grant, within the step's time."""
    try:
        async with asyncio.timeout(seconds):
            return await authorization.grant(refused)
    except TimeoutError:
        raise timed_out(seconds) from None


async def _started(answers: asyncio.StreamReader, requests: asyncio.StreamWriter, text: bytes) -> int:
    """Hand a child its request, and wait until the node's turn has come; a handle of the process, 0 if it has ended."""
    try:
        async with asyncio.timeout(_START):
            requests.write(text)
            await requests.drain()
            line = await answers.readline()
    except (TimeoutError, OSError) as error:
        raise NotStartedError(str(error)) from error
    if not line.startswith(READY):
        raise NotStartedError("it ended before")
    try:
        return os.pidfd_open(int(line.removeprefix(READY)))
    except ProcessLookupError:  # it has ended already
        return 0


async def _all(
    answers: asyncio.StreamReader,
    requests: asyncio.StreamWriter,
    patience: float,
    most: int,
    uses: Callable[[str], Awaitable[None]] | None,
) -> bytes:
    """What is said until the end, besides the secrets that are told, and kept before the child goes on.

    Raises:
        StepFailedError: ``output_too_large`` if it is more than so many bytes; a child that is well counts for itself.
        TimeoutError: if the child took more than ``patience`` seconds; it does not hang while a secret is kept.
    """
    said, clock = bytearray(), asyncio.get_running_loop().time
    while True:
        began = clock()
        async with asyncio.timeout(patience):
            piece = await answers.read(_PIECE)
        patience -= clock() - began
        if not piece:
            return bytes(said)
        said += piece
        if (secret := _secret(said)) is not None:
            said.clear()
            if uses is not None:
                await uses(secret)
            requests.write(KEPT)
        if len(said) > most:
            raise StepFailedError("output_too_large", f"What the node gives is over {most:,} bytes, the limit.")


def _secret(said: bytearray) -> str | None:
    """The secret that a child tells, once the line is whole: nothing follows it until the secret is kept."""
    if not said.startswith(USES) or not said.endswith(b"\n"):
        return None
    with suppress(ValueError):
        if isinstance(secret := decode(bytes(said[len(USES) :])), str):
            return secret
    return None  # the child ended in the middle of it


def _kill(child: int) -> None:
    """End a child, if it has not ended by itself."""
    with suppress(OSError):
        signal.pidfd_send_signal(child, signal.SIGKILL)


def _read(told: bytes) -> Any:
    answer, end, status = told.rpartition(b"\n")
    if not end:
        raise NotStartedError("what forks was ended")  # or it would have told how the child ended
    try:
        read = decode(answer)
        if "failed" in read:
            raise StepFailedError(**_arguments(read["failed"]))
        return msgspec.convert(read["result"], getattr(base, read["type"]))
    except (ValueError, KeyError, TypeError, AttributeError, msgspec.ValidationError):
        raise crashed(f"The step ended the process of its own that it ran in ({_how(int(status))}).") from None


def _how(status: int) -> str:
    with suppress(ValueError, TypeError):
        return signal.Signals(-status).name
    return f"status {status}"


def _arguments(failure: Mapping[str, Any]) -> dict[str, Any]:
    return {**failure, "code": str(failure["code"]), "message": str(failure["message"])}
