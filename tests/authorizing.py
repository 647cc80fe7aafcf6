"""Authorizations over the API: made, listed, and consented to in a browser at a provider of the test."""

from typing import Any
from urllib.parse import urlsplit

from tests.api_client import PUBLIC_URL, Answer, ApiClient

PATH = "/workflows/authorization"
CALLBACK = f"{PATH}/callback"
BASE = "https://api.example.com/v1"
FIELDS = {"id", "user_id", "provider", "status", "created_at", "name", "kind", "used_by"}
STATIC: dict[str, dict[str, Any]] = {
    "bearer": {"base_url": BASE, "token": "a-bearer-token"},
    "basic": {"base_url": BASE, "username": "ada", "password": "pass:word"},
    "header": {"base_url": BASE, "name": "X-Api-Key", "value": "a-header-value"},
    "oauth2_client_credentials": {
        "base_url": BASE,
        "token_url": "https://login.example.com/token",
        "client_id": "c",
        "client_secret": "a-client-secret",
        "scope": "read write",
        "audience": "https://api.example.com",
    },
}


async def make(api: ApiClient, kind: str, config: dict[str, Any], **options: Any) -> Answer:
    return await api.call("POST", PATH, {"name": "One", "kind": kind, "config": config}, **options)


async def status_of(api: ApiClient, authorization_id: str) -> str:
    listed = (await api.call("GET", PATH)).json
    return next(str(each["status"]) for each in listed if each["id"] == authorization_id)


async def come_back(api: ApiClient, location: str, accept: str = "text/html") -> Answer:
    """What a browser does with the redirect of a provider."""
    parts = urlsplit(location)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{PUBLIC_URL}{CALLBACK}"
    return await api.call("GET", f"{CALLBACK}?{parts.query}", token="", headers={"Accept": accept})
