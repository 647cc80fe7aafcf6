"""The world outside an installation: a receiver of HTTP calls with a ledger, and a client of the API."""

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil


@dataclass
class Call:
    """One request that arrived: when (monotonic seconds), under which key, from which local port and to which."""

    path: str
    key: str | None
    body: bytes
    port: int
    server: int
    at: float = field(default_factory=time.monotonic)
    answered: threading.Event = field(default_factory=threading.Event)

    def pid(self, among: list[int]) -> int:
        """Which of these processes made the call: the one that owns the other end of its connection.

        Both ports tell that: from one port connections may lead to several servers.
        """
        ends = (self.port, self.server)
        for pid in among:
            with suppress(psutil.NoSuchProcess):  # another worker that has just ended
                open_now = psutil.Process(pid).net_connections("tcp")
                if any(c.raddr and (c.laddr.port, c.raddr.port) == ends for c in open_now):
                    return pid
        raise AssertionError(f"no process of {among} has a connection from port {self.port}")


class _Server(ThreadingHTTPServer):
    """Its callers are killed in the middle of calls; that is no error of the server.

    Hundreds connect at once: the default of five that may wait leaves connections that nobody ever answers.
    """

    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Receiver:
    """Answers ``POST /now/...`` at once, and ``/hold/...`` when the test says so; keeps a ledger of all of it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        self._answers: dict[int, tuple[threading.Event, dict[str, Any]]] = {}
        self._released: set[str] = set()
        self._over = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Host and port, as the allow-list takes it."""
        return f"127.0.0.1:{self._server.server_port}"

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"http://{self.address}{path}"

    def to(self, path: str) -> list[Call]:
        """The calls to a path so far."""
        with self._lock:
            return [call for call in self.calls if call.path == path]

    def release(self, call: Call, answer: dict[str, Any]) -> None:
        """Answer a call that is held."""
        event, content = self._answers[id(call)]
        content.update(answer)
        event.set()

    def release_all(self, path: str) -> None:
        """Answer every call to a path, those that are held and those that are still to come."""
        with self._lock:
            self._released.add(path)
            events = [self._answers[id(call)][0] for call in self.calls if call.path == path]
        for event in events:
            event.set()

    def close(self) -> None:
        """Let every held call go, and stop."""
        with self._lock:
            self._over = True
            events = [event for event, _ in self._answers.values()]
        for event in events:
            event.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        ports = request.client_address[1], self._server.server_port
        call = Call(request.path, request.headers.get("Idempotency-Key"), body, *ports)
        event, content = threading.Event(), {}
        with self._lock:
            self._answers[id(call)] = (event, content)
            self.calls.append(call)
            held = request.path.startswith("/hold/") and request.path not in self._released and not self._over
        if held:
            event.wait()
        text = json.dumps(content).encode()
        try:
            request.send_response(200)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(text)))
            request.end_headers()
            request.wfile.write(text)
        except OSError:
            request.close_connection = True
        call.answered.set()


class Client:
    """The API as a user calls it."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def __call__(self, method: str, path: str, body: Any = None, expect: int | None = None) -> Any:
        """Send one request; the decoded answer. Fails if the status is not the expected one."""
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read()
        assert status == expect or (expect is None and status < 300), (status, text[:2000])
        return json.loads(text) if text else None

    def create(self, nodes: list[dict[str, Any]], edges: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Create a workflow."""
        created: dict[str, Any] = self(
            "POST", "/workflows", {"name": "test", "nodes": nodes, "edges": edges} | more, 201
        )
        return created

    def execute(self, workflow: dict[str, Any], context: Any = None) -> str:
        """Start a run; its id."""
        run_id: str = self("POST", f"/workflows/{workflow['id']}/execute", {"context": context or {}}, 202)["id"]
        return run_id

    def run(self, run_id: str) -> dict[str, Any]:
        """A run with its logs and steps."""
        run: dict[str, Any] = self("GET", f"/workflows/runs/{run_id}")
        return run

    def has_ended(self, run_id: str) -> Callable[[], bool]:
        """A condition: the run is terminal."""
        return lambda: self.run(run_id)["status"] in {"completed", "failed", "cancelled"}


def node(node_id: str, component: str, **data: Any) -> dict[str, Any]:
    """A node as a canvas sends it."""
    return {"id": node_id, "type": component, "position": {"x": 0, "y": 0}, "data": {"componentId": component, **data}}


def edges(*pairs: tuple[str, ...]) -> list[dict[str, Any]]:
    """Edges from (source, target) or (source, target, handle)."""
    return [
        {"id": f"e{number}", "source": pair[0], "target": pair[1]} | ({"sourceHandle": pair[2]} if pair[2:] else {})
        for number, pair in enumerate(pairs)
    ]
