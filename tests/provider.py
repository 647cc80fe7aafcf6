"""An OAuth2 provider for tests, authlib's, with an API that takes its tokens; both on loopback.

It has one client and one person, ``ada``, who consents unless the test says that she does not. Refresh tokens rotate,
unless the test says otherwise.
"""

import asyncio
import base64
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from aiohttp import ClientSession, web
from authlib.oauth2.rfc6749 import AuthorizationServer
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload, OAuth2Request
from authlib.oauth2.rfc6750.token import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge

CLIENT = "edgewise-client"
SECRET = "the client's secret: 7/8+9="
PERSON = "ada"


class Client:
    """The one client of the provider; implements authlib's ``ClientMixin``."""

    def __init__(self, redirect_uri: str) -> None:
        self.redirect_uri = redirect_uri
        self.auth_method = "client_secret_basic"
        self.enabled = True

    def get_client_id(self) -> str:
        return CLIENT

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        return self.enabled and client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.auth_method

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return True


class Issued:
    """A code or a token; implements authlib's mixins of both."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def get_redirect_uri(self) -> Any:
        return self.redirect_uri  # type: ignore[attr-defined]

    def get_scope(self) -> Any:
        return self.scope  # type: ignore[attr-defined]

    def check_client(self, client: Client) -> bool:
        return True


class Request(OAuth2Request):
    """A request that was read."""

    def __init__(self, request: web.Request, form: dict[str, str]) -> None:
        # Authlib wants TLS; on loopback a proxy is thought to have ended it.
        super().__init__(request.method, str(request.url.with_scheme("https")), headers=dict(request.headers))
        self._args, self._form = dict(request.query), form
        self.payload = BasicOAuth2Payload({**self._args, **form})

    @property
    def args(self) -> dict[str, str]:
        return self._args

    @property
    def form(self) -> dict[str, str]:
        return self._form


class Code(AuthorizationCodeGrant):
    """Authorization codes, each good for one use."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["client_secret_basic", "client_secret_post", "none"]

    def save_authorization_code(self, code: str, request: Request) -> None:
        data = request.payload.data
        self.server.provider.codes[code] = Issued(
            redirect_uri=data.get("redirect_uri"),
            scope=data.get("scope", ""),
            user=PERSON,
            code=code,
            code_challenge=data.get("code_challenge"),
            code_challenge_method=data.get("code_challenge_method"),
        )

    def query_authorization_code(self, code: str, client: Client) -> Any:
        return self.server.provider.codes.get(code)

    def delete_authorization_code(self, authorization_code: Any) -> None:
        del self.server.provider.codes[authorization_code.code]

    def authenticate_user(self, authorization_code: Any) -> Any:
        return authorization_code.user


class Refresh(RefreshTokenGrant):
    """Refresh tokens that rotate."""

    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["client_secret_basic", "client_secret_post", "none"]

    def authenticate_refresh_token(self, refresh_token: str) -> Any:
        return self.server.provider.refresh_tokens.get(refresh_token)

    def authenticate_user(self, refresh_token: Any) -> str:
        return PERSON

    def revoke_old_credential(self, refresh_token: Any) -> None:
        if self.server.provider.rotates:
            del self.server.provider.refresh_tokens[refresh_token.text]


class Credentials(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["client_secret_basic", "client_secret_post"]


class Server(AuthorizationServer):
    """Authlib's server over what aiohttp reads and writes."""

    def __init__(self, provider: "Provider") -> None:
        super().__init__()
        self.provider = provider
        generate = BearerTokenGenerator(
            lambda **_: f"access-{secrets.token_hex(16)}",
            lambda **_: f"refresh-{secrets.token_hex(16)}",
            lambda *_: provider.expires_in,
        )
        self.register_token_generator("default", generate)
        self.register_grant(Code, [CodeChallenge(required=True)])
        self.register_grant(Refresh)
        self.register_grant(Credentials)

    def query_client(self, client_id: str) -> Client | None:
        return self.provider.client if client_id == CLIENT else None

    def save_token(self, token: dict[str, Any], request: Request) -> None:
        self.provider.access_tokens.add(token["access_token"])
        if "refresh_token" in token and self.provider.gives_refresh_tokens:
            text = token["refresh_token"]
            self.provider.refresh_tokens[text] = Issued(scope=token.get("scope", ""), text=text)
        elif "refresh_token" in token:
            del token["refresh_token"]

    def create_oauth2_request(self, request: Request) -> Request:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> web.Response:
        text = json.dumps(body) if isinstance(body, dict) else body or ""
        return web.Response(status=status, body=text.encode(), headers=dict(headers))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        pass


class Provider:
    """The provider and its API.

    Attributes:
        url: where both are.
        consents: whether the person does.
        expires_in: seconds that tokens are said to live.
        rotates: whether a refresh token is good for one use.
        refuses: whether the API answers everything with 401.
        others: headers that the API takes besides, as (name, value).
        answers: what the next token requests are answered with instead, as (status, JSON).
        gate: token requests that were granted are answered once it is open.
        granted: how many token requests were granted, by grant type; each is counted before it waits at the gate.
        seen: what the API was called with, in order.
    """

    def __init__(self, redirect_uri: str) -> None:
        self.url = ""
        self.client = Client(redirect_uri)
        self.consents = True
        self.expires_in = 3600
        self.gives_refresh_tokens = True
        self.rotates = True
        self.refuses = False
        self.codes: dict[str, Any] = {}
        self.refresh_tokens: dict[str, Any] = {}
        self.access_tokens: set[str] = set()
        self.others: set[tuple[str, str]] = set()
        self.answers: list[tuple[int, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.granted: Counter[str] = Counter()
        self.asked: list[dict[str, str]] = []
        self.seen: list[web.Request] = []
        self._server = Server(self)

    def config(self, **changes: Any) -> dict[str, Any]:
        """The configuration of an ``oauth2_authorization_code``."""
        return {"authorize_url": f"{self.url}/authorize", **self.credentials(), **changes}

    def credentials(self, **changes: Any) -> dict[str, Any]:
        """The configuration of ``oauth2_client_credentials``."""
        usual = {
            "base_url": f"{self.url}/api/v1",
            "token_url": f"{self.url}/token",
            "client_id": CLIENT,
            "client_secret": SECRET,
            "scopes": ["read", "write"],
        }
        return {**usual, **changes}

    def forget_access_tokens(self) -> None:
        """From now on the API refuses every token that it was given so far."""
        self.access_tokens.clear()

    async def consent(self, authorization_url: str) -> str:
        """Follow the link as a person does; where the provider sends the browser to."""
        async with ClientSession() as http, http.get(authorization_url, allow_redirects=False) as response:
            assert response.status == 302, await response.text()
            return response.headers["Location"]

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        read = Request(request, {})
        grant = self._server.get_consent_grant(read, end_user=PERSON)
        answer: web.Response = self._server.create_authorization_response(
            read, grant_user=PERSON if self.consents else None, grant=grant
        )
        return answer

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(form)
        if self.answers:
            status, body = self.answers.pop(0)
            return web.json_response(body, status=status)
        answer: web.Response = self._server.create_token_response(Request(request, form))
        if answer.status == 200:
            self.granted[form["grant_type"]] += 1
            await self.gate.wait()
        return answer

    async def _api(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        await request.read()
        presented = request.headers.get("Authorization", "")
        known = presented.removeprefix("Bearer ") in self.access_tokens
        if "to" in request.query and known:
            raise web.HTTPFound(request.query["to"])
        known = known or any(request.headers.get(name) == value for name, value in self.others)
        if self.refuses or not known:
            return web.json_response({"error": "who are you?"}, status=401)
        told = {"method": request.method, "path": request.path_qs, "body": await request.text()}
        if "echo" in request.query:
            told["echo"] = {name: value for name, value in request.headers.items() if name != "Host"}
        return web.json_response(told)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_route("*", "/api/{path:.*}", self._api)
        return app


def basic(username: str, password: str) -> str:
    """The header of Basic authentication."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


@asynccontextmanager
async def serving(redirect_uri: str) -> AsyncIterator[Provider]:
    """A provider that knows this redirect URI."""
    provider = Provider(redirect_uri)
    runner = web.AppRunner(provider.app(), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        provider.url = f"http://{host}:{port}"
        yield provider
    finally:
        provider.gate.set()
        await runner.cleanup()
