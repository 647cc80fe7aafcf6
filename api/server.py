"""aiohttp's server, with the contract's answer to what is not HTTP at all.

aiohttp's own answer, and its log line, quote the broken bytes: a header that is too long, with the token in it.
"""

import asyncio
import re
from typing import Any, Final, NamedTuple

from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMethod, ContentEncodingError, LineTooLong
from aiohttp.web_protocol import RequestHandler

from api.bodies import BODY_SECONDS
from api.call import REQUEST_ID_HEADER, fresh_request_id
from api.errors import SERVER, MethodNotAllowedError, answer, in_envelope, internal
from shared.errors import BadRequestError, EdgewiseError, UnsupportedMediaError, UriTooLongError
from shared.log import get

_log = get(__name__)
_UNKNOWN_CODING: Final = "The body's Content-Encoding must be gzip or deflate, or there must be none."
#: Bytes of a URL: what RFC 9110 (4.1) asks every server to take. Not the limit of a header: it tells them apart.
_URL_BYTES: Final = 8000
#: What a method that HTTP does not know is told; the parser gives up before it knows the path.
_ALLOWED: Final = "DELETE, GET, HEAD, POST, PUT"
#: In the parser's message: bytes that begin as a request does, and not as TLS or something else.
_REQUEST_LINE: Final = re.compile(r"""\n  b["'][A-Za-z-]+ /""")
_UNREADABLE: Final = "The request is not HTTP that can be read: its first line, its headers or its framing are broken."


class Limits(NamedTuple):
    """How long clients may take; all in seconds.

    Attributes:
        head: from connecting, or from the first byte of a later request, until its headers are complete.
        body: until the body of a request is complete.
        idle: between an answer and the next request. Longer than proxies keep their connections (10 minutes at most),
            which would else send a request into one that is just being closed.
    """

    head: float = 10.0
    body: float = 30.0
    idle: float = 620.0


_USUAL: Final = Limits()


class Runner(web.AppRunner):
    """Runs an application.

    Args:
        app: the application.
        public_url: the base of ``doc_url``.
        grace_seconds: how long requests in flight may go on after `cleanup` was called.
        limits: how long clients may take.
    """

    def __init__(self, app: web.Application, *, public_url: str, grace_seconds: float, limits: Limits = _USUAL) -> None:
        super().__init__(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=grace_seconds,
            keepalive_timeout=limits.idle,
            max_line_size=_URL_BYTES,
        )
        app[BODY_SECONDS] = limits.body
        self._head_seconds = limits.head
        self._public_url = public_url

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            in_envelope(plain.request_handler, self._public_url),
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
            loop=plain._loop,  # noqa: SLF001 — there is no other way to a protocol of one's own
            public_url=self._public_url,
            head_seconds=self._head_seconds,
            **plain._kwargs,  # noqa: SLF001
        )


class _Server(web.Server):
    def __init__(self, *args: Any, public_url: str, head_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.public_url = public_url
        self.head_seconds = head_seconds

    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(RequestHandler):
    __slots__ = ("_head_seconds", "_public_url")

    def __init__(self, manager: _Server, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._public_url = manager.public_url
        self._head_seconds = manager.head_seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client little time for its first request."""
        super().connection_made(transport)
        self._hasten()

    def data_received(self, data: bytes) -> None:
        """Give the client little time to complete a request that it began on a connection that was idle."""
        super().data_received(data)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            self._hasten()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading if it was paused. aiohttp asks for it after each body, and parses nothing once more: 5 us."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _hasten(self) -> None:
        """Let aiohttp's keep-alive timer close the connection soon, unless an answer starts it afresh.

        What is sent byte by byte does not put it off.
        """
        close_time = self._loop.time() + self._head_seconds
        if self._keepalive_handle is None or close_time >= self._next_keepalive_close_time:
            return
        self._keepalive_handle.cancel()
        self._next_keepalive_close_time = close_time
        self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)

    async def start(self) -> None:
        """Serve the connection; one that was accepted just before the end is closed.

        aiohttp would wait for its first request, which it no longer reads, for the whole grace period.
        """
        if self._close:
            self.force_close()
            return
        await super().start()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 — it quotes what was sent
    ) -> web.StreamResponse:
        """Answer in the contract's form, and close the connection."""
        request_id = fresh_request_id()
        if status >= 500:
            _log.error("request failed outside its handler", request_id=request_id, exc_info=exc)
        else:
            _log.info("request is not HTTP", request_id=request_id, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        error = internal(request_id) if status >= 500 else _told(exc)
        response = answer(error, self._public_url)
        response.headers.update({REQUEST_ID_HEADER: request_id, hdrs.SERVER: SERVER})
        if isinstance(error, MethodNotAllowedError):
            response.headers[hdrs.ALLOW] = _ALLOWED
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """What broke beside the handlers. A body in a broken coding is the caller's fault and was answered already."""
        if isinstance(kwargs.get("exc_info"), web.RequestPayloadError):
            _log.info("the rest of a body can't be read", error="RequestPayloadError")
        else:
            super().log_exception(*args, **kwargs)


def _told(error: BaseException | None) -> EdgewiseError:
    """What is told of a request that aiohttp's parser refused."""
    if isinstance(error, ContentEncodingError):
        return UnsupportedMediaError("unsupported_media_type", _UNKNOWN_CODING)
    if isinstance(error, BadHttpMethod) and _REQUEST_LINE.search(error.message):
        return MethodNotAllowedError("method_not_allowed", f"There is no such method; these are served: {_ALLOWED}.")
    if isinstance(error, LineTooLong) and error.args[1] == _URL_BYTES:
        return UriTooLongError("uri_too_long", f"The URL is over the limit, {_URL_BYTES} bytes.")
    return BadRequestError("bad_request", _UNREADABLE)
