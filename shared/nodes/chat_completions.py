"""The chat completions protocol as OpenAI defined it and many others speak it: what is asked, and what comes back.

Servers agree on good answers, and less on errors; every shape that is known is read, and any other told as it came.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from shared import jsontext
from shared.egress.interface import EgressResponse
from shared.errors import StepFailedError
from shared.nodes.http_response import SHOWN, failure

#: What a request says by itself; ``options`` may not say it otherwise.
RESERVED: Final = frozenset(("model", "messages", "stream", "stream_options", "response_format", "n"))
#: The name that a schema has to have, and that nobody reads.
_SCHEMA_NAME: Final = "output"
#: Characters of a server's message that an error shows.
_MESSAGE: Final = 500
_NO_MONEY: Final = "insufficient_quota"


class Completion(NamedTuple):
    """A good answer.

    Attributes:
        finish_reason: why the text ends: ``stop``, or ``length`` if it was cut off.
        usage: tokens by what they were for.
    """

    text: str
    model: str | None
    finish_reason: str | None
    usage: Any


def endpoint(base_url: str) -> str:
    """Where completions are asked for; a query in the base URL stays behind it."""
    address, mark, query = base_url.partition("?")
    return f"{address.rstrip('/')}/chat/completions{mark}{query}"


def document(
    *,
    model: str,
    system: str,
    prompt: str,
    schema: Mapping[str, Any] | None,
    told_by: str,
    options: Mapping[str, Any],
) -> bytes:
    """The request's body.

    Args:
        model: its name at the server.
        system: how the model is to behave; may be empty.
        prompt: what it is asked.
        schema: of the answer, or None for text.
        told_by: ``json_schema``, ``json_object`` or ``prompt``: how the server is told about the schema.
        options: sent as they are.
    """
    rules = [system, "" if schema is None or told_by == "json_schema" else _told_in_words(schema)]
    instructions = "\n\n".join(filter(None, rules))
    messages = [{"role": "system", "content": instructions}] if instructions else []
    body: dict[str, Any] = {
        **options,
        "model": model,
        "messages": [*messages, {"role": "user", "content": prompt}],
        "stream": False,
    }
    if schema is not None and told_by != "prompt":
        body["response_format"] = _response_format(schema, told_by)
    return jsontext.to_bytes(jsontext.encode(body))


def _told_in_words(schema: Mapping[str, Any]) -> str:
    return f"Answer with one JSON document alone that is valid under this JSON Schema: {jsontext.encode(schema)}"


def _response_format(schema: Mapping[str, Any], told_by: str) -> dict[str, Any]:
    if told_by == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": _SCHEMA_NAME, "schema": schema}}


def completion_of(response: EgressResponse, now: datetime) -> Completion:
    """What the model said.

    Raises:
        StepFailedError: ``ai_failed`` for an error, also one in an answer that calls itself good, ``ai_refused`` if the
            model or a filter did not want to, ``invalid_response`` for what is no completion.
    """
    body = _decoded(response.body)
    if not 200 <= response.status < 300:
        raise _failed(failure(response, now, code="ai_failed", what="AI request"), body)
    choice = _first_choice(body)
    if choice is None:
        raise _no_completion(response, body)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise _no_completion(response, body)
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        raise _refused(message.get("refusal"))
    text = _text_of(message.get("content"))
    if text is None:
        raise _no_completion(response, body)
    return Completion(text, _string(body.get("model")), _string(choice.get("finish_reason")), body.get("usage"))


def json_in(text: str) -> Any:
    """The JSON document that a text is, in a Markdown fence or without.

    Raises:
        ValueError: if it is none.
        RecursionError: if it nests too deep.
    """
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        bare = bare.removesuffix("```").partition("\n")[2]
    return jsontext.decode(bare)


def _decoded(body: bytes) -> Any:
    try:
        return jsontext.decode(body)
    except (ValueError, RecursionError):
        return None


def _first_choice(body: Any) -> dict[str, Any] | None:
    choices = body.get("choices") if isinstance(body, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _text_of(content: Any) -> str | None:
    """The text of a message, whole or in parts."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(text for text in texts if isinstance(text, str))
    return _string(content)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _failed(plain: StepFailedError, body: Any) -> StepFailedError:
    """The error with what the server says in it; an account without money is not helped by trying again."""
    told, code = _told(body)
    broke = code == _NO_MONEY
    return StepFailedError(
        plain.code,
        f"{plain.message}: {told[:_MESSAGE]}" if told else plain.message,
        category="4xx" if broke else plain.category,
        http_status=plain.http_status,
        body=plain.body,
        retry_in=None if broke else plain.retry_in,
    )


def _told(body: Any) -> tuple[str, str | None]:
    """Message and code of an error: ``{"error": {...}}``, the same in a list, ``{"error": "text"}``, or unwrapped."""
    if isinstance(body, list) and body:
        body = body[0]
    inner = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(inner, dict):
        return (inner, None) if isinstance(inner, str) else ("", None)
    told = next((inner[name] for name in ("message", "detail", "error") if inner.get(name)), "")
    return told if isinstance(told, str) else jsontext.encode(told), _string(inner.get("code") or inner.get("type"))


def _no_completion(response: EgressResponse, body: Any) -> StepFailedError:
    shown = response.body[:SHOWN].decode("utf-8", "replace")
    if isinstance(body, dict) and body.get("error"):  # some proxies answer 200 to what went wrong behind them
        message = f"AI request failed: {_told(body)[0][:_MESSAGE]}"
        return StepFailedError("ai_failed", message, http_status=response.status, body=shown)
    message = "The answer is no chat completion: it has no choice with a message of text."
    return StepFailedError("invalid_response", message, http_status=response.status, body=shown)


def _refused(refusal: Any) -> StepFailedError:
    said = f": {refusal[:_MESSAGE]}" if isinstance(refusal, str) else " by its content filter."
    return StepFailedError("ai_refused", f"The model refused{said}")
