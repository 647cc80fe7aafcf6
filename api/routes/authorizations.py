"""``/workflows/authorization``: what workflows present to the APIs they call."""

from typing import Annotated, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET, Meta

from api import authorization_login, authorization_saving, idempotency
from api.accepting import wants_page
from api.access import PUBLIC, Scope
from api.answer_page import HEADERS, message_page
from api.answers import Answer, json_answer
from api.authorization_draft import draft
from api.authorization_fields import Authorization, AuthorizationUrl, NewAuthorization
from api.authorization_login import Returned
from api.bodies import duplicates, read_body_or_empty
from api.call import Call
from api.moments import stamp
from api.paging import next_page
from api.queries import read_cursor, read_query
from api.routing import Routes
from shared.db import Connection
from shared.errors import BadRequestError, EdgewiseError, InvalidError
from shared.ids import Prefix, encode
from shared.store import authorizations
from shared.store.authorizations import AuthorizationRow

ROUTES: Final = Routes()
#: The most bytes of a body: two secrets of 16 KiB, and room.
_LIMIT: Final = 128 * 1024
_DEFAULT_LIMIT: Final = 50


class AuthorizationQuery(msgspec.Struct, frozen=True):
    """Pages of the list of authorizations."""

    limit: Annotated[Annotated[int, Meta(ge=1, le=200)] | None, Meta(description="a whole number from 1 to 200")] = None
    cursor: Annotated[str | None, Meta(description="the cursor of a Link header")] = None


class Consent(msgspec.Struct, frozen=True):
    """A consent was taken."""

    status: str


@ROUTES.route(
    "GET",
    authorization_login.CALLBACK,
    access=PUBLIC,
    summary="The redirect URI of OAuth2: where a provider sends people back to, as a page for browsers",
    answers={200: Consent},
)
async def take_consent(call: Call) -> web.Response:
    """The code is exchanged and the token stored before this answers. HEAD, which only looks, takes none."""
    if call.request.method == hdrs.METH_HEAD:
        return web.Response(headers=HEADERS)
    if not wants_page(call.request):
        await authorization_login.complete(call, _returned(call.request))
        return web.json_response({"status": "active"}, headers={"Cache-Control": "no-store", "Vary": "Accept"})
    try:
        await authorization_login.complete(call, _returned(call.request))
    except EdgewiseError as error:
        page = message_page("That did not work", error.message)
        again = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return web.Response(status=error.status, body=page, headers={**HEADERS, **again})
    page = message_page("Authorized", "The consent was taken. You can close this page.")
    return web.Response(status=200, body=page, headers=HEADERS)


@ROUTES.route(
    "GET",
    "/workflows/authorization",
    access=Scope.WORKFLOWS_READ,
    summary="List authorizations, newest first; all of them unless limit or cursor is given",
    query=AuthorizationQuery,
    answers={200: list[Authorization]},
)
async def list_authorizations(call: Call) -> web.Response:
    """Never a token."""
    query = read_query(AuthorizationQuery, call.request)
    before = read_cursor(Prefix.AUTHORIZATION, "cursor", query.get("cursor"))
    limit = query.get("limit", None if before is None else _DEFAULT_LIMIT)
    async with call.reading() as connection:
        rows = await authorizations.list_all(connection, call.workspace_id, before, limit and limit + 1)
    shown = rows if limit is None else rows[:limit]
    objects = [_object(row) for row in shown]
    headers = next_page(call, objects[-1].id, limit=str(limit)) if len(rows) > len(shown) else {}
    return json_answer(200, objects, headers=headers).response()


@ROUTES.route(
    "POST",
    "/workflows/authorization",
    access=Scope.WORKFLOWS_WRITE,
    summary="Make an authorization; without a body one of the operator's own OAuth2 provider (200)",
    body=NewAuthorization,
    answers={200: Authorization, 201: Authorization},
    idempotent=True,
)
async def create_authorization(call: Call) -> web.Response:
    """With ``authorization_url`` if a person has to consent."""
    body, raw = await read_body_or_empty(call.request, _LIMIT)
    faults = duplicates(body) if body else []
    if faults:
        raise InvalidError("duplicate_key", "A key stands more than once in an object of the body.", faults=faults)

    async def work(connection: Connection) -> Answer:
        made = draft(raw) if raw else authorization_saving.of_the_operator(call)
        row, url = await authorization_saving.create(connection, call, made)
        # The original, which has the form without a body alone, answers 200.
        return json_answer(201 if raw else 200, _object(row, url), secret=url is not None)

    return await idempotency.once(call, body, work, confidential=True)


@ROUTES.route(
    "POST",
    "/workflows/authorization/{id}/consent",
    access=Scope.WORKFLOWS_WRITE,
    summary="Ask for a person's consent once more: for one that is revoked, or was never given",
    answers={200: AuthorizationUrl},
    idempotent=True,
)
async def ask_again(call: Call) -> web.Response:
    """What the authorization has goes on to be used until the consent is given."""
    authorization_id = call.path_id(Prefix.AUTHORIZATION)

    async def work(connection: Connection) -> Answer:
        url = await authorization_saving.consent_again(connection, call, authorization_id)
        return json_answer(200, AuthorizationUrl(url), secret=True)

    return await idempotency.once(call, b"", work)


@ROUTES.route(
    "DELETE",
    "/workflows/authorization/{id}",
    access=Scope.WORKFLOWS_WRITE,
    summary="Delete an authorization with its tokens; workflows that use it can no longer do so",
    answers={204: None},
)
async def delete_authorization(call: Call) -> web.Response:
    """Steps that would present it fail with ``authorization_revoked``; ``used_by`` tells which workflows have them."""
    authorization_id = call.path_id(Prefix.AUTHORIZATION)
    async with call.writing() as connection:
        await authorization_saving.delete(connection, call, authorization_id)
    return web.Response(status=204)


def _returned(request: web.Request) -> Returned:
    """What stands in the query. What providers add is passed over; what is read may stand there once."""
    names = Returned.__struct_fields__
    if any(len(request.query.getall(name, [])) > 1 for name in names):
        raise BadRequestError("consent_unknown", "A parameter stands more than once in the URL. Start again.")
    return Returned(**{name: request.query.get(name, "") for name in names})


def _object(row: AuthorizationRow, url: str | None = None) -> Authorization:
    return Authorization(
        id=encode(Prefix.AUTHORIZATION, row.id),
        user_id=row.user_id,
        provider=row.provider,
        status=row.status,
        created_at=stamp(row.created_at),
        name=row.name,
        kind=row.kind,
        used_by=[encode(Prefix.WORKFLOW, workflow_id) for workflow_id in row.used_by],
        authorization_url=UNSET if url is None else url,
    )
