"""A request's id: the caller's own, where that is one, and otherwise one that no other request has."""

import os
from collections.abc import Iterable
from itertools import count

REQUEST_ID_BYTES_MAX = 128
"""A longer id from outside is replaced (contract)."""


class RequestIds:
    """Unique over workers and restarts by their beginning, and cheap by their end."""

    def __init__(self) -> None:
        self._prefix = os.urandom(8).hex()
        self._numbers = count()

    def of(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The id of the request with these headers."""
        for name, value in headers:
            if name == b"x-request-id":
                if 0 < len(value) <= REQUEST_ID_BYTES_MAX and all(0x21 <= byte <= 0x7E for byte in value):
                    return value.decode()
                break
        return f"{self._prefix}-{next(self._numbers):x}"
