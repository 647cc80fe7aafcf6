"""Signatures of webhook requests, held against those that the senders' own libraries make."""

import base64
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from slack_sdk.signature import Clock, SignatureVerifier
from standardwebhooks import Webhook

from api.webhook_signatures import verify
from shared.errors import EdgewiseError
from shared.nodes.webhook_rules import Signature

NOW = 1_700_000_000
BODY = '{"id": "evt_1", "note": "grüß\\u0000"}'.encode()
SECRETS = {name: f"a secret of {name}" for name in ("github", "stripe", "slack", "hmac")} | {
    "standard_webhooks": "whsec_" + base64.b64encode(b"a key of 24 bytes or more").decode()
}


class _SetClock(Clock):
    def now(self) -> float:
        return float(NOW)


def _github(body: bytes, secret: str, at: int) -> Mapping[str, str]:
    # GitHub gives no library for Python; this is the code of its page "Validating webhook deliveries".
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()}


def _stripe(body: bytes, secret: str, at: int) -> Mapping[str, str]:
    made = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)  # type: ignore[no-untyped-call]
    return {"stripe-signature": f"{made},v0=00"}


def _slack(body: bytes, secret: str, at: int) -> Mapping[str, str]:
    made = SignatureVerifier(secret).generate_signature(timestamp=str(at), body=body)
    return {"x-slack-signature": str(made), "x-slack-request-timestamp": str(at)}


def _standard(body: bytes, secret: str, at: int) -> Mapping[str, str]:
    made = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": made}


def _hmac(body: bytes, secret: str, at: int) -> Mapping[str, str]:
    digest = base64.b64encode(hmac.new(secret.encode(), body, "sha512").digest()).decode()
    return {"x-my-seal": f"v9={digest}"}


Sign = Callable[[bytes, str, int], Mapping[str, str]]
SIGN: dict[str, Sign] = {
    "github": _github,
    "stripe": _stripe,
    "slack": _slack,
    "standard_webhooks": _standard,
    "hmac": _hmac,
}
HEADERS = {
    "github": "x-hub-signature-256",
    "stripe": "stripe-signature",
    "slack": "x-slack-signature",
    "standard_webhooks": "webhook-signature",
    "hmac": "x-my-seal",
}
STAMPED = ("stripe", "slack", "standard_webhooks")
every_scheme = pytest.mark.parametrize("scheme", SIGN)


class Request(NamedTuple):
    """A signed request."""

    scheme: str
    headers: Mapping[str, str]
    body: bytes = BODY

    def outcome(self, *secrets: str, now: float = NOW, **rule: Any) -> str:
        """The code it is refused with, or ``ok``."""
        more = {"header": "X-My-Seal", "algorithm": "sha512", "encoding": "base64", "prefix": "v9="}
        asked = {**(more if self.scheme == "hmac" else {}), **rule}
        signature = Signature(self.scheme, "the-item", **asked)  # type: ignore[arg-type] # a name of SIGN
        try:
            verify(signature, CIMultiDict(self.headers), self.body, secrets or (SECRETS[self.scheme],), now)
        except EdgewiseError as error:
            return error.code if error.status in (401, 503) else str(error.status)
        return "ok"


def signed(scheme: str, *, secret: str | None = None, at: int = NOW) -> Request:
    """A request as its sender makes it."""
    return Request(scheme, SIGN[scheme](BODY, secret or SECRETS[scheme], at))


@every_scheme
def test_what_the_senders_own_library_signs_is_taken(scheme: str) -> None:
    """With the body, or the secret, or one bit of the signature changed, it is not."""
    request = signed(scheme)
    assert request.outcome() == "ok"
    assert request._replace(body=BODY + b" ").outcome() == "signature_wrong"
    assert request._replace(body=b"").outcome() == "signature_wrong"
    other = "whsec_" + base64.b64encode(b"another key of 24 bytes").decode()
    assert request.outcome(other) == "signature_wrong"
    assert request.outcome(other, SECRETS[scheme]) == "ok"
    name = HEADERS[scheme]
    text = request.headers[name]
    place = text.index({"stripe": "v1=", "standard_webhooks": ","}.get(scheme, "=")) + 5
    changed = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
    assert request._replace(headers={**request.headers, name: changed}).outcome() == "signature_wrong"


@every_scheme
def test_a_sender_that_changes_its_secret_gives_several_signatures(scheme: str) -> None:
    """One of them that is right is enough, wherever it stands."""
    name, separator = HEADERS[scheme], " " if scheme == "standard_webhooks" else ","
    old, new = signed(scheme, secret="whsec_" + base64.b64encode(b"x" * 24).decode()), signed(scheme)
    for one, two in ((old, new), (new, old)):
        second = two.headers[name]
        if scheme == "stripe":
            second = second.partition(",")[2]
        both = f"{one.headers[name]}{separator}{second}"
        assert new._replace(headers={**new.headers, name: both}).outcome() == "ok"


@every_scheme
@pytest.mark.parametrize(
    "text", [None, "", ",", "=", "v1,", "sha256=", "t=,v1=", "v0=zz", "v9=é", "t=1,v1=" + "0" * 64, "x" * 9000]
)
def test_a_signature_that_cannot_be_read_is_missing_or_wrong(scheme: str, text: str | None) -> None:
    """It is 401 in any case."""
    request = signed(scheme)
    headers = {key: value for key, value in request.headers.items() if key != HEADERS[scheme]}
    if text is not None:
        headers[HEADERS[scheme]] = text
    assert request._replace(headers=headers).outcome().startswith("signature_")


@pytest.mark.parametrize("scheme", STAMPED)
def test_a_replay_after_the_window_is_refused(scheme: str) -> None:
    """Five minutes unless the webhook says otherwise, in both directions; right at the bound it is taken."""
    request = signed(scheme)
    assert request.outcome(now=NOW + 300) == request.outcome(now=NOW - 300) == "ok"
    assert request.outcome(now=NOW + 301) == request.outcome(now=NOW - 301) == "signature_expired"
    assert request.outcome(now=NOW + 11, tolerance=10) == "signature_expired"
    assert request.outcome(now=NOW + 3600, tolerance=3600) == "ok"


@pytest.mark.parametrize("scheme", STAMPED)
@pytest.mark.parametrize("stamp", ["", "x", "-1", "9" * 400, "１７", "1e9", " "])
def test_a_timestamp_is_seconds(scheme: str, stamp: str) -> None:
    """Anything else is no signature."""
    request = signed(scheme)
    headers = {name: value.replace(str(NOW), stamp) for name, value in request.headers.items()}
    assert request._replace(headers=headers).outcome() == "signature_missing"


@pytest.mark.parametrize("scheme", STAMPED)
def test_the_timestamp_is_signed(scheme: str) -> None:
    """A replay cannot make itself younger."""
    request = signed(scheme, at=NOW - 1000)
    headers = {name: value.replace(str(NOW - 1000), str(NOW)) for name, value in request.headers.items()}
    assert request._replace(headers=headers).outcome() == "signature_wrong"


def test_the_vectors_of_documentation_are_taken() -> None:
    """GitHub's and Standard Webhooks' pages give one each."""
    github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    request = Request("github", {"X-Hub-Signature-256": github}, b"Hello, World!")
    assert request.outcome("It's a Secret to Everybody") == "ok"
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    request = Request("standard_webhooks", headers, b'{"test": 2432232314}')
    assert request.outcome("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", now=1_614_265_330) == "ok"
    svix = {name.replace("webhook", "svix"): value for name, value in headers.items()}
    assert request._replace(headers=svix).outcome("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", now=1_614_265_330) == "ok"


def test_slack_s_own_verifier_agrees() -> None:
    """What it takes is taken here, and the other way round."""
    request = signed("slack")
    verifier = SignatureVerifier(SECRETS["slack"], clock=_SetClock())
    assert verifier.is_valid_request(BODY, dict(request.headers))
    assert request.outcome() == "ok"
    old = signed("slack", at=NOW - 301)
    assert not verifier.is_valid_request(BODY, dict(old.headers))
    assert old.outcome() == "signature_expired"


@every_scheme
def test_without_a_secret_nothing_is_taken(scheme: str) -> None:
    """It is the owner's fault and may pass, so the sender is told to come back."""
    request = signed(scheme)
    signature = Signature(scheme, "the-item", header="x")  # type: ignore[arg-type] # a name of SIGN
    with pytest.raises(EdgewiseError) as caught:
        verify(signature, request.headers, BODY, (), NOW)
    assert (caught.value.status, caught.value.code) == (503, "webhook_secret_missing")
    assert caught.value.retry_after == 60


def test_a_secret_of_standard_webhooks_is_base64() -> None:
    """Another one cannot be used, and an empty one would let everybody sign."""
    for secret in ("whsec_", "whsec_not base64", ""):
        assert signed("standard_webhooks").outcome(secret) == "webhook_secret_missing"
    assert signed("github").outcome(" \n") == "webhook_secret_missing"


@given(
    st.sampled_from([*SIGN]),
    st.dictionaries(
        st.sampled_from([*HEADERS.values(), "webhook-id", "webhook-timestamp", "x-slack-request-timestamp"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    ),
    st.binary(max_size=80),
)
def test_nothing_else_is_taken(scheme: str, headers: dict[str, str], body: bytes) -> None:
    """Whatever headers and bodies there are, they are refused with 401."""
    assert Request(scheme, headers, body).outcome(SECRETS[scheme]).startswith("signature_")


def test_the_rule_is_what_is_saved() -> None:
    """An item may be named as templates name it."""
    rule = msgspec.convert({"scheme": "github", "secret": "{{ vault.git_hub }}"}, Signature)
    assert (rule.secret_name, rule.tolerance) == ("git_hub", 300)
