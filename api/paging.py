"""The ``Link`` to the next page of a list."""

from urllib.parse import urlencode

from api.call import Call


def next_page(call: Call, cursor: str, **more: str) -> dict[str, str]:
    """The header that leads to the next page: the same query, further down.

    Args:
        call: the request for this page.
        cursor: where the next one begins.
        more: parameters that the next request is to have besides, whether this one had them or not.
    """
    query = {**call.request.query, **more, "cursor": cursor}
    return {"Link": f'<{call.services.config.public_url}{call.request.path}?{urlencode(query)}>; rel="next"'}
