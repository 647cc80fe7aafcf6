"""One call under way."""

import time
from collections.abc import Hashable

from shared.egress.hosts import Gate
from shared.errors import StepFailedError


class Call:
    """What a caller wants of every hop (see `shared.egress.interface`), and how far it is.

    Attributes:
        tenant: whose call it is.
        host: that it calls now.
        started: by `time.perf_counter`.
        gate: of that host once it was let in; None while it waits.
    """

    __slots__ = ("follow_redirects", "gate", "host", "max_bytes", "started", "tenant", "verify_tls")

    def __init__(
        self,
        tenant: Hashable,
        host: str,
        follow_redirects: bool = True,
        verify_tls: bool = True,
        max_bytes: int = 0,
    ) -> None:
        self.tenant = tenant
        self.host = host
        self.started = time.perf_counter()
        self.gate: Gate | None = None
        self.follow_redirects = follow_redirects
        self.verify_tls = verify_tls
        self.max_bytes = max_bytes

    def too_late(self, seconds: float) -> StepFailedError:
        """The error of a call whose time is over."""
        message = f"The call to {self.host} took longer than its {seconds:g} s."
        if self.gate is None:
            message = f"The call waited {seconds:g} s for one of the places of {self.host}, all of which are in use."
        return StepFailedError("timeout", message, category="timeout")
