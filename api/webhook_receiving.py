"""A webhook request from its token to its answer: what its webhook asks is asked in this order.

Who may not come is told before anything is read; a signature comes before everything that a stranger could use up
(the rate, a dedupe key) or learn from (a handshake).
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from aiohttp import web

from api.bodies import read
from api.call import Call
from api.client_address import client_address, lies_in
from api.moments import stamp
from api.short import ShortAnswer
from api.webhook_payload import compose
from api.webhook_responses import graph_handshake, own_response, slack_handshake
from api.webhook_rules import RenderTime, dedupe_key
from api.webhook_signatures import verify
from api.webhook_targets import Hook, hash_token
from shared.errors import (
    ConflictError,
    EdgewiseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    SignatureError,
    UnavailableError,
)
from shared.ids import Prefix, encode
from shared.ingest import Accepted, Trigger
from shared.metrics import WEBHOOK_REQUESTS
from shared.states import TriggerType

#: Outcomes: accepted, repeated, handshake, these, and invalid; limited is by the backlog, rate_limited by the webhook.
_ACCEPTED: Final = WEBHOOK_REQUESTS.labels("accepted")
_REPEATED: Final = WEBHOOK_REQUESTS.labels("repeated")
_HANDSHAKE: Final = WEBHOOK_REQUESTS.labels("handshake")
_OUTCOMES: Final[Mapping[type[EdgewiseError], str]] = {
    NotFoundError: "not_found",
    ConflictError: "inactive",
    SignatureError: "unsigned",
    PermissionDeniedError: "forbidden",
    RateLimitedError: "limited",
    UnavailableError: "unavailable",
}
#: What a later replay tells apart: nobody knows who sent what could not be verified.
_BY_CODE: Final[Mapping[str, str]] = {"webhook_rate_limit": "rate_limited", "webhook_secret_missing": "unverified"}


async def receive(call: Call) -> web.Response:
    """Start the run of a webhook request; 202 means durable.

    Raises:
        EdgewiseError: if it starts none; counted by its outcome, and kept.
    """
    token = call.request.match_info["token"]
    token_hash = hash_token(token)
    webhooks = call.services.webhooks
    try:
        hook = webhooks.remembered(token_hash) or await webhooks.find(token, token_hash)
    except EdgewiseError as error:
        WEBHOOK_REQUESTS.labels(outcome_of(error)).inc()
        raise
    receiving = _Receiving(call, hook, token, token_hash)
    try:
        return await receiving.answer()
    except EdgewiseError as error:
        outcome = outcome_of(error)
        WEBHOOK_REQUESTS.labels(outcome).inc()
        await call.services.deliveries.refused(hook, call.request, receiving.body, error, outcome)
        raise


def outcome_of(error: EdgewiseError) -> str:
    """What a request that was refused counts as."""
    return _BY_CODE.get(error.code) or _OUTCOMES.get(type(error), "invalid")


class _Receiving:
    """One request under way.

    Attributes:
        body: None as long as it was not read.
    """

    __slots__ = ("_call", "_hook", "_time", "_token", "_token_hash", "body")

    def __init__(self, call: Call, hook: Hook, token: str, token_hash: bytes) -> None:
        self._call = call
        self._hook = hook
        self._token = token
        self._token_hash = token_hash
        self._time = RenderTime()
        self.body: bytes | None = None

    async def answer(self) -> web.Response:
        """Ask what the webhook asks, and start the run."""
        request, services, _ = self._call
        hook, rules = self._hook, self._hook.rules
        if rules.networks:
            _check_address(self._call, hook)
        await services.backlog.admit(hook.workspace_id)
        body = self.body = await read(request, services.config.webhook_max_bytes)
        if rules.handshake == "microsoft_graph" and (shaken := graph_handshake(request)) is not None:
            return await self._shaken(shaken)
        if rules.signature is not None:
            verify(rules.signature, request.headers, body, hook.secrets, services.clock.time())
        if rules.rate_limit is not None:
            await services.rates.admit(hook.id, rules.rate_limit)
        if rules.handshake == "slack" and (shaken := slack_handshake(body)) is not None:
            return await self._shaken(shaken)
        if not hook.is_active:
            raise ConflictError("workflow_inactive", "The workflow of this webhook is inactive; activate it first.")
        secret_header = "" if rules.signature is None else rules.signature.header
        payload = await compose(request, body, stamp(services.clock.now()), secret_header=secret_header)
        key = dedupe_key(rules, request, payload, body, self._time) if rules.dedupes else None
        return await self._started(payload, await self._accept(payload, key))

    async def _accept(self, payload: str, key: str | None) -> Accepted:
        call = self._call
        trigger = Trigger(
            self._hook.id, TriggerType.WEBHOOK, payload, call.request_id, call.traceparent, self._token_hash
        )
        accepted = await call.services.ingest.accept(trigger if key is None else trigger._replace(dedupe_key=key))
        if accepted is None:
            # What was remembered is stale: looking again says how.
            now = await call.services.webhooks.find(self._token, self._token_hash)
            what = "changed just now; repeat the request" if now.is_active else "is inactive; activate it first"
            raise ConflictError("workflow_inactive", f"The workflow of this webhook {what}.")
        return accepted

    async def _started(self, payload: str, accepted: Accepted) -> web.Response:
        run_id = encode(Prefix.RUN, accepted.run_id)
        rules = self._hook.rules
        own = None if rules.response is None else own_response(rules, payload, run_id, self._time)
        answer = own or ShortAnswer(202, b'{"run_id":"%s"}' % run_id.encode())
        if accepted.is_repeat:
            _REPEATED.inc()
            await self._keep("repeated", answer, accepted.run_id)
        else:
            _ACCEPTED.inc()
        return answer

    async def _shaken(self, answer: web.Response) -> web.Response:
        _HANDSHAKE.inc()
        await self._keep("handshake", answer)
        return answer

    async def _keep(self, why: str, answer: web.Response, run_id: UUID | None = None) -> None:
        log, body = self._call.services.deliveries, self.body or b""
        await log.answered(self._hook, self._call.request, body, why, status=answer.status, run_id=run_id)


def _check_address(call: Call, hook: Hook) -> None:
    address = client_address(call.request, call.services.trusted_proxies)
    if address is None or not lies_in(address, hook.rules.networks):
        raise PermissionDeniedError("address_not_allowed", "This webhook takes requests from other addresses only.")
