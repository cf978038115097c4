"""A request's id: the caller's own, where that is one, and otherwise one that no other request has."""

import os
from itertools import count

REQUEST_ID_BYTES_MAX = 128
"""A longer id from outside is replaced (contract)."""


class RequestIds:
    """Unique over workers and restarts by their beginning, and cheap by their end."""

    def __init__(self) -> None:
        self._prefix = os.urandom(8).hex()
        self._numbers = count()

    def of(self, given: bytes | None) -> str:
        """The id of a request that was `given` one, or none, by its caller."""
        if given is not None and 0 < len(given) <= REQUEST_ID_BYTES_MAX and all(0x21 <= byte <= 0x7E for byte in given):
            return given.decode()
        return f"{self._prefix}-{next(self._numbers):x}"
