"""``ai_text_transform``: text, or a JSON value that fits a schema, out of a language model."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared.egress.fields import check_headers
from shared.errors import StepFailedError
from shared.graph.suggest import listed
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.chat_completions import RESERVED, Completion, completion_of, document, endpoint, json_in
from shared.nodes.fields import Plain, Secret, Text
from shared.nodes.http_faults import header_faults, url_faults
from shared.nodes.http_request import Request, headers_of
from shared.nodes.json_schemas import SchemaFaultError, schema_of
from shared.nodes.webhook import Pairs

_OPENAI: Final = "https://api.openai.com/v1"
#: Bytes of an answer; a step's output has at most 1 MiB.
MAX_BYTES: Final = 2 * 1024 * 1024
#: Characters of a text that does not fit its schema, in the error.
_SHOWN: Final = 2048


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        model: its name at the server.
        prompt: what the model is asked.
        system: how it is to behave.
        base_url: of a server that speaks OpenAI's chat completions; ``/chat/completions`` is added.
        api_key: sent as ``Authorization: Bearer``.
        output_schema: a JSON Schema; the answer is read as JSON and must fit it, or the step fails.
        schema_mode: how the server is told about the schema: by a ``response_format`` of ``json_schema``, which most
            know; by ``json_object`` and words in the system message; or by the words alone (``prompt``).
        temperature: 0 to 2; the server's own if null.
        max_tokens: of the answer; likewise.
        options: further fields of the request, such as ``top_p`` or ``max_completion_tokens``.
        headers: further ones, as a list of ``{key, value}`` or an object.
        verify_tls: whether the server must have a certificate that is trusted.
    """

    model: Text[str]
    prompt: Text[str]
    system: Text[str] = ""
    base_url: Text[str] = _OPENAI
    api_key: Text[Secret[str]] = ""
    output_schema: Plain[dict[str, Any] | None] = None
    schema_mode: Plain[Literal["json_schema", "json_object", "prompt"]] = "json_schema"
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    options: dict[str, Any] = {}
    headers: Text[Secret[Pairs]] = []
    verify_tls: bool = True


class AiTextTransform(NodeType[Data]):
    """Asks a language model; output ``{result, model, finish_reason, usage}``.

    ``result`` is the answer's text, or with ``output_schema`` the value that it is. ``finish_reason`` is ``length`` if
    a text was cut off at ``max_tokens``; a JSON document that was fails the step.
    """

    component_id = "ai_text_transform"
    title = "AI text transform"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "base_url": "https://llm.example.com/v1",
        "model": "small",
        "prompt": "Say in one sentence what this customer wants: {{ n1.mail }}",
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"mail": "Where is my order 17?"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        faults = [*url_faults(data.get("base_url", _OPENAI), "base_url"), *header_faults(data.get("headers", []))]
        options = data.get("options", {})
        for name in sorted(RESERVED & options.keys()) if isinstance(options, dict) else ():
            reserved = listed(tuple(sorted(RESERVED)))
            faults.append((f"options.{name}", f"The node says this by itself; it does so with {reserved}."))
        return [*faults, *_schema_faults(data.get("output_schema"))]

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Ask, and check the answer.

        Raises:
            StepFailedError: what `Egress.request` raises; ``ai_failed`` with what the server said, ``ai_refused``,
                ``ai_output_invalid`` if the answer does not fit the schema, ``invalid_response``, ``invalid_data``.
        """
        request = _request(data, context.idempotency_key)
        try:
            completion = await _completion(request, data, context)
            return Outcome(_output(completion, data), step_input=request.logged())
        except StepFailedError as error:
            error.step_input = request.logged()
            raise


def _request(data: Data, idempotency_key: str) -> Request:
    given = [(name, value) for _, name, value in headers_of(data.headers)]
    own = {"Content-Type": "application/json", "Accept": "application/json", "Idempotency-Key": idempotency_key}
    if data.api_key:
        own["Authorization"] = f"Bearer {data.api_key}"
    names = {name.lower() for name, _ in given}
    headers = [*given, *((name, value) for name, value in own.items() if name.lower() not in names)]
    body = document(
        model=data.model,
        system=data.system,
        prompt=data.prompt,
        schema=data.output_schema,
        told_by=data.schema_mode,
        options={**_chosen(data), **_free(data.options)},
    )
    return Request("POST", endpoint(data.base_url), headers, body)


def _chosen(data: Data) -> dict[str, Any]:
    chosen = {"temperature": data.temperature, "max_tokens": data.max_tokens}
    return {name: value for name, value in chosen.items() if value is not None}


def _free(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options, which a template may have given.

    Raises:
        StepFailedError: ``invalid_data`` if they say what the node says by itself.
    """
    for name in RESERVED & options.keys():
        raise StepFailedError("invalid_data", f"data.options.{name}: The node says this by itself.")
    return options


async def _completion(request: Request, data: Data, context: StepContext) -> Completion:
    check_headers(request.headers)
    response = await context.egress.request(
        request.method,
        request.url,
        headers=request.headers,
        body=request.body,
        timeout=context.timeout,
        verify_tls=data.verify_tls,
        max_bytes=MAX_BYTES,
    )
    return completion_of(response, context.now)


def _output(completion: Completion, data: Data) -> dict[str, Any]:
    result = completion.text if data.output_schema is None else _checked(completion, data.output_schema)
    return {
        "result": result,
        "model": completion.model,
        "finish_reason": completion.finish_reason,
        "usage": completion.usage,
    }


def _checked(completion: Completion, schema: Mapping[str, Any]) -> Any:
    try:
        value = json_in(completion.text)
    except (ValueError, RecursionError) as error:
        cut = "; it was cut off at its longest" if completion.finish_reason == "length" else ""
        raise _unfit(completion, f"is no JSON document{cut} ({error})") from error
    try:
        faults = schema_of(schema).faults(value)
    except SchemaFaultError as error:
        raise StepFailedError("invalid_data", f"data.output_schema: {error}.") from error
    if faults:
        place, why = faults[0]
        raise _unfit(completion, f"does not fit output_schema: {f'at {place}: ' if place else ''}{why}")
    return value


def _unfit(completion: Completion, why: str) -> StepFailedError:
    return StepFailedError("ai_output_invalid", f"The model's answer {why}.", body=completion.text[:_SHOWN])


def _schema_faults(schema: Any) -> list[tuple[str, str]]:
    if schema is None:
        return []
    try:
        schema_of(schema)
    except SchemaFaultError as error:
        return [("output_schema", f"{error}.")]
    return []
