"""A server that gives back what it is sent."""

import base64
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.soap import SCHEMA, wsdl


class _Server(ThreadingHTTPServer):
    """Callers that give up are no error of the server."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Echo:
    """Gives back what it is sent: in bodies, keys, headers and reasons, as text, JSON and bytes, well and failing.

    Args:
        access_token: that it gives whoever asks for one.

    Attributes:
        paths: the first part of the path of each request.
        stopping: ends requests that take long.
    """

    def __init__(self, access_token: str) -> None:
        echo = self
        self._access_token = access_token
        self.paths: list[str] = []
        self.stopping = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                echo.answer(self)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        """Stop."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Echo one request, as its path says."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        place = urlsplit(request.path).path.split("/")[1]
        tries = self.paths.count(place)
        self.paths.append(place)
        if place == "slow":
            self.stopping.wait(20)
        headers = {name: value.encode("latin-1").decode("utf-8", "replace") for name, value in request.headers.items()}
        said = {"path": request.path, "headers": headers, "body": body.decode("utf-8", "replace")}
        said |= dict.fromkeys(headers.values(), 1)
        said["coded"] = base64.b64encode(body).decode()
        with suppress(ValueError):
            said["json"] = json.loads(body)
        status = {"fail": 500, "flaky": 503 if tries == 0 else 200, "redirect": 302}.get(place, 200)
        text = json.dumps(said).encode()
        if place == "soap" and request.command == "GET":
            described = SCHEMA if request.path.endswith("types.xsd") else wsdl(self.url("/soap"))
            text = described.encode()
        if place == "token":
            granted = {"access_token": self._access_token, "token_type": "Bearer", "expires_in": 3600}
            text = json.dumps(granted).encode()
        request.send_response(status, f"Said {headers.get('X-Token', '')}")
        request.send_header("Content-Type", "application/octet-stream" if place == "binary" else "application/json")
        request.send_header("X-Echo", request.headers.get("Authorization", ""))
        if place == "redirect":
            request.send_header("Location", f"/ok/again?token={headers.get('X-Token')}")
        text = b"no json: " + text if place == "notjson" else text
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)
