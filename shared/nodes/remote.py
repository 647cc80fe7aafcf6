"""What the nodes that speak to databases share: where the server is, and how the connection is encrypted."""

import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from shared.egress.pinned import check_host
from shared.errors import StepFailedError
from shared.templates import is_template

#: ``verify`` wants a certificate that is trusted and made out for the host, ``require`` takes any, ``off`` sends what
#: everybody on the way can read.
Tls = Literal["verify", "require", "off"]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class NamedContext(ssl.SSLContext):
    """TLS that asks for the certificate of one name, whatever address the connection was made to.

    Attributes:
        name: the host as the author wrote it.
    """

    name: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,  # noqa: ARG002 — the address that a library takes for the name
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        return super().wrap_bio(incoming, outgoing, server_side, self.name, session)


@lru_cache(maxsize=256)
def tls_context(tls: Tls, name: str) -> NamedContext | None:
    """How a connection to a host is encrypted; None if it is not."""
    if tls == "off":
        return None
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.name = name
    if tls == "verify":
        context.load_default_certs()
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def host_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The fault of a constant ``host`` that is none, in the form of `NodeType.check`."""
    if is_template(data["host"]):
        return []
    try:
        check_host(data["host"])
    except StepFailedError as error:
        return [("host", error.message)]
    return []
