"""The errors of Edgewise: one base, each with a code, a type of the HTTP contract and a message that names the rule.

An error carries what the caller needs to mend the request: the thing, the rule it broke and the legal values. It never
carries a secret, a stack trace or a URL with credentials.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with an input.

    Attributes:
        path: where it is, dotted from the document's root: ``nodes[2].data.url``.
        code: a stable identifier, e.g. ``unknown_field``.
        message: one sentence naming the thing, the rule and the legal values.
    """

    path: str
    code: str
    message: str


class EdgewiseError(Exception):
    """Base of every error the project raises on purpose.

    Attributes:
        type: one of the contract's error types.
        code: a stable identifier, also the last part of ``doc_url``.
        status: the HTTP status it is served with.
        retry_after: seconds after which a repeat may succeed, or None.
        run_id: the run that the request started all the same, or None.
    """

    type: ClassVar[str] = "api_error"
    status: ClassVar[int] = 500

    def __init__(
        self,
        code: str,
        message: str,
        *,
        faults: Sequence[Fault] = (),
        retry_after: int | None = None,
        run_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.faults = tuple(faults)
        self.retry_after = retry_after
        self.run_id = run_id


class BadRequestError(EdgewiseError):
    """The request could not be read: malformed JSON, a bad header, a bad query parameter."""

    type = "invalid_request_error"
    status = 400


class InvalidError(EdgewiseError):
    """The request was read and breaks rules; ``faults`` lists every one of them."""

    type = "invalid_request_error"
    status = 422


class AuthenticationError(EdgewiseError):
    """Who is calling could not be established; ``challenge`` is what it takes to be."""

    challenge: ClassVar[str] = "Bearer"
    type = "authentication_error"
    status = 401


class SignatureError(AuthenticationError):
    """A request is not signed as its webhook asks."""

    challenge = "Signature"


class PermissionDeniedError(EdgewiseError):
    """The caller is known and may not do this."""

    type = "permission_error"
    status = 403


class NotFoundError(EdgewiseError):
    """No such thing in the caller's workspace."""

    type = "not_found_error"
    status = 404


class RequestTimeoutError(EdgewiseError):
    """The client took too long over its request."""

    type = "timeout_error"
    status = 408


class ConflictError(EdgewiseError):
    """The state of the thing forbids it now."""

    type = "conflict_error"
    status = 409


class PreconditionFailedError(EdgewiseError):
    """The thing has changed since the caller read it (``If-Match``)."""

    type = "conflict_error"
    status = 412


class TooLargeError(EdgewiseError):
    """The body is over its limit."""

    type = "invalid_request_error"
    status = 413


class UriTooLongError(EdgewiseError):
    """The URL is over its limit."""

    type = "invalid_request_error"
    status = 414


class UnsupportedMediaError(EdgewiseError):
    """The content type is not one that is read here."""

    type = "invalid_request_error"
    status = 415


class RateLimitedError(EdgewiseError):
    """Over a limit; ``retry_after`` says when to come back."""

    type = "rate_limit_error"
    status = 429


class UnavailableError(EdgewiseError):
    """A dependency is away; nothing was lost, and ``retry_after`` says when to come back."""

    type = "api_error"
    status = 503


class RunFailedError(EdgewiseError):
    """The run that was to answer a request failed; the fault is its workflow's, and not the service's."""

    type = "api_error"
    status = 502


class RunTimeoutError(EdgewiseError):
    """The run that was to answer a request has not answered in time; it goes on."""

    type = "timeout_error"
    status = 504


class StepFailedError(EdgewiseError):
    """A step's attempt failed.

    Attributes:
        category: what ``retry.on`` matches: ``network``, ``timeout``, ``429``, ``5xx``, ``4xx`` or ``error``.
        http_status: the status of the answer that failed it, or None.
        body: up to 2 KB of that answer, or None.
        retry_in: seconds the far side asked to wait (``Retry-After``), or None.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        category: str = "error",
        http_status: int | None = None,
        body: Any = None,
        retry_in: float | None = None,
        step_input: Any = None,
    ) -> None:
        super().__init__(code, message)
        self.category = category
        self.http_status = http_status
        self.body = body
        self.retry_in = retry_in
        self.step_input = step_input

    def as_output(self) -> dict[str, Any]:
        """The output of the ``error`` handle: ``{"error": {code, message, status, body}}``."""
        return {
            "error": {"code": self.code, "message": self.message, "status": self.http_status, "body": self.body},
        }


class ConfigError(EdgewiseError):
    """The configuration is not usable; ``faults`` lists everything that is wrong with it."""
