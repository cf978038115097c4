"""A request's id: the one that the caller sent, if it is valid, and otherwise a new, unique one."""

import os
from itertools import count

REQUEST_ID_BYTES_MAX = 128
"""A longer id from outside is replaced (contract)."""


class RequestIds:
    """Makes ids of a random prefix, which is unique across workers and restarts, and a counter, which is cheap."""

    def __init__(self) -> None:
        self._prefix = os.urandom(8).hex()
        self._numbers = count()

    def of(self, given: bytes | None) -> str:
        """The id of a request: `given`, if it is valid, else a new one. `given` is the caller's X-Request-ID."""
        if given is not None and 0 < len(given) <= REQUEST_ID_BYTES_MAX and all(0x21 <= byte <= 0x7E for byte in given):
            return given.decode()
        return f"{self._prefix}-{next(self._numbers):x}"
