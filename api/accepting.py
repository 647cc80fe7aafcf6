"""What a client wants to get: a page or JSON."""

from aiohttp import hdrs, web


def wants_page(request: web.Request) -> bool:
    """Whether a page is as good as JSON or better, by ``Accept``; who does not ask for one gets JSON."""
    wanted = {"text/html": 0.0, "application/json": 0.0}
    for part in request.headers.get(hdrs.ACCEPT, "").lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media in wanted:
            wanted[media] = max(wanted[media], _quality(parameters))
    return 0.0 < wanted["text/html"] >= wanted["application/json"]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
