"""Calls of nodes, each in a process of its own: ``python -m shared.apart.isolated PARENT``.

`shared.apart.processes` starts it.

This process only forks, so that a call costs no start of Python. By its standard input, a socket, it is handed one more
socket per call. The fork reads a `Request` as a line of JSON from that, writes the line ``ready PID``, and then one
answer, ``{"type", "result"}`` or ``{"failed"}``; when it has ended, a line with its status follows. Lines
``uses SECRET`` may come before the answer: the node is about to present a secret, and goes on once a byte says that it
is kept. Whatever a node prints goes to standard error.
"""

import asyncio
import ctypes
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, get_type_hints

import msgspec

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.errors import StepFailedError
from shared.jsontext import decode, encode, to_bytes
from shared.nodes.base import CompiledNode, Grant, StepContext, TriggerContext
from shared.nodes.registry import Registry, default_registry
from shared.texts import BREAKAGES, internal_error, texts_of_failure

#: Bytes of address space: a node that eats memory fails here before the machine is short of it.
MEMORY: Final = 2 * 1024**3
#: Bytes of an answer, unless a request says otherwise: what an iterator may go over as JSON.
LARGEST: Final = 64 * 1024**2
#: Before the number of a process; from here on whatever ends it is the node's doing.
READY: Final = b"ready "
#: Before a secret, as JSON, that the node is about to use.
USES: Final = b"uses "
#: What says that it is kept.
KEPT: Final = b"k"
_PR_SET_PDEATHSIG: Final = 1
#: The code of a call that ends because it needs a grant, or another one than it has.
GRANT_WANTED: Final = "authorization_missing"
#: What a `StepFailedError` is made of.
FAILURE: Final = ("code", "message", "category", "http_status", "body", "retry_in", "step_input")


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be called.

    Attributes:
        method: of `shared.nodes.base.CompiledNode`.
        scope: what templates see; None for a trigger.
        context: the fields of a `StepContext` (without its client) or of a `TriggerContext`; None for a pure node.
        egress_allow, egress_proxy: as configured.
        grant: of the authorization, once the node has asked for it.
        niceness: how much it gives way to other processes, 0 to 19.
        largest: bytes of the answer's JSON; a larger one is a failed call, and a larger failure is cut.
        memory: bytes of address space, at most `MEMORY`.
    """

    node_id: str
    component: str
    data: dict[str, Any]
    method: str
    scope: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    egress_allow: str = ""
    egress_proxy: str = ""
    grant: Grant | None = None
    niceness: int = 0
    largest: int = LARGEST
    memory: int = MEMORY


def main(registry: Registry | None = None) -> None:
    """Fork for every socket that comes, until the worker is gone."""
    _bind(int(sys.argv[1]))
    control = socket.socket(fileno=os.dup(0))
    os.dup2(2, 1)
    known = registry or default_registry()
    ended, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    calls: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if ended in ready:
                os.read(ended, 4096)
                _reap(calls)
            if control in ready and not _fork(control, calls, known):
                return


def _fork(control: socket.socket, calls: dict[int, socket.socket], registry: Registry) -> bool:
    """Answer the call that a socket comes for in a fork; False once the worker is gone."""
    word, (*handles,), _, _ = socket.recv_fds(control, 1, 1)
    if not word:
        return False
    for handle in handles:
        call = socket.socket(fileno=handle)
        forker = os.getpid()
        pid = os.fork()
        if pid == 0:
            for other in (*calls.values(), control):
                other.close()
            _answer_call(call, forker, registry)
        calls[pid] = call  # kept open, so that the worker reads on until the status is told
    return True


def _reap(calls: dict[int, socket.socket]) -> None:
    """Tell how forks ended."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = found
            with suppress(OSError), calls.pop(pid) as call:
                call.sendall(f"\n{os.waitstatus_to_exitcode(status)}".encode())


def _answer_call(call: socket.socket, forker: int, registry: Registry) -> NoReturn:
    """Be the fork: answer one call and end."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _die_with(forker)
    status = 1
    with suppress(OSError, ValueError):  # the worker hung up
        with call.makefile("rb") as text:
            request = msgspec.convert(decode(text.readline()), Request)
        os.nice(request.niceness)
        _limit_memory(request.memory)
        call.sendall(READY + f"{os.getpid()}\n".encode())
        call.sendall(to_bytes(encode(asyncio.run(_answer(request, registry, call)))))
        status = 0
    sys.stderr.flush()
    os._exit(status)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _bind(parent: int) -> None:
    """Die with the parent, and before anything else when memory is short; leave no core file."""
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory(MEMORY)
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit_memory(size: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = size if most == resource.RLIM_INFINITY else min(size, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


async def _answer(request: Request, registry: Registry, call: socket.socket) -> dict[str, Any]:
    try:
        node = registry.compile(request.node_id, request.component, request.data)
        result = await _result(request, node, _Teller(call))
        # Here and not later: a result that cannot be written down is this node's fault.
        built = {"type": type(result).__name__, "result": msgspec.to_builtins(result)}
        _limit(encode(built), request.largest)
    except StepFailedError as error:
        return _failed(error, request.largest)
    except (*BREAKAGES, asyncio.CancelledError) as error:
        return _failed(internal_error(error), request.largest)
    return built


def _limit(text: str, largest: int) -> None:
    if len(to_bytes(text)) > largest:
        message = f"What the node gives is over {largest:,} bytes of JSON, the limit."
        raise StepFailedError("output_too_large", message)


def _failed(error: StepFailedError, largest: int) -> dict[str, Any]:
    """The failure; one that is too large is cut to what a run keeps of it, and then does without input and body."""
    failure = {name: getattr(error, name) for name in FAILURE}
    try:
        if len(to_bytes(encode(failure))) > largest:
            error, texts = texts_of_failure(error)
            failure = {name: getattr(error, name) for name in FAILURE}
            failure["step_input"] = None if texts.step_input is None else decode(texts.step_input)
        if len(to_bytes(encode(failure))) > largest:
            failure |= {"step_input": None, "body": None}
    except BREAKAGES as broken:
        return _failed(internal_error(broken), largest)
    return {"failed": failure}


async def _result(request: Request, node: CompiledNode, teller: "_Teller") -> msgspec.Struct:
    """What the node gave.

    Raises:
        StepFailedError: if it failed.
        TypeError: if that is none of the engine's types.
    """
    scope = request.scope or {}
    if request.method == "call":
        result: Any = await _call(request, node, scope, teller)
    elif request.method == "exposes":
        result = await node.exposes(scope)
    elif request.method == "trigger":
        result = node.trigger(msgspec.convert(request.context, TriggerContext))
    else:
        arguments = () if request.context is None else (_context(request.context, None),)
        result = getattr(node, request.method)(scope, *arguments)
    if not isinstance(result, msgspec.Struct):
        raise TypeError("a node gives one of the types of shared.nodes.base")
    return result


async def _call(request: Request, node: CompiledNode, scope: Mapping[str, Any], teller: "_Teller") -> Any:
    guard = Guard(parse_allow(request.egress_allow))
    async with EgressClient(guard, limit=8, proxy=request.egress_proxy or None) as egress:
        context = _context(request.context or {}, egress)
        given = _Handed(request.grant) if node.authorized else None
        context = msgspec.structs.replace(context, authorization=given, uses_secret=teller.uses_secret)
        try:
            async with asyncio.timeout(context.timeout):
                return await node.call(scope, context)
        except TimeoutError:
            raise timed_out(context.timeout) from None


class _Teller:
    """Tells who started the call which secrets it uses: a process without a database can keep none itself."""

    def __init__(self, call: socket.socket) -> None:
        self._call = call
        self._turn = asyncio.Lock()

    async def uses_secret(self, secret: str) -> None:
        """See `StepContext.uses_secret`."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            self._call.setblocking(False)
            try:
                await loop.sock_sendall(self._call, USES + to_bytes(encode(secret)) + b"\n")
                if await loop.sock_recv(self._call, 1) != KEPT:
                    raise ConnectionError("the call's other side is gone")
            finally:
                self._call.setblocking(True)


class _Handed(NamedTuple):
    """A grant that was handed over; implements `Authorization` for a process without a database.

    Another grant is got by ending the call: who started it gets one and calls anew.
    """

    given: Grant | None

    async def grant(self, refused: Grant | None = None) -> Grant:
        if self.given is None or refused is not None:
            raise StepFailedError(GRANT_WANTED, "The workflow has no authorization; give it an authorization_id.")
        return self.given


def timed_out(seconds: float) -> StepFailedError:
    """The failure of a step that took too long."""
    message = f"The step took longer than its timeout of {seconds:g} seconds."
    return StepFailedError("timeout", message, category="timeout")


def _context(fields: Mapping[str, Any], egress: EgressClient | None) -> StepContext:
    kinds = get_type_hints(StepContext)
    values = {name: msgspec.convert(value, kinds[name]) for name, value in fields.items()}
    return StepContext(**values, egress=egress)  # type: ignore[arg-type] # only effects have a client, and use it


if __name__ == "__main__":
    main()
