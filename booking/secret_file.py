"""A secret in a file of the data folder, made by whichever process comes first."""

import os
import secrets
from pathlib import Path

SECRET_BYTES = 48
"""Random bytes in a new secret; it is written as base64url."""


def read_or_make(path: Path) -> bytes:
    """The secret that is kept at `path` (mode 0600). Raises OSError where it can be neither read nor made."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written aside and linked into place: nobody ever reads half a secret, and a second maker loses.
        aside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(aside)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    return path.read_bytes().strip()
