"""Styles, scripts and images of the pages, under an address that changes with their content.

They are sent from memory. Starlette's StaticFiles uses a thread for each step of each file: 1 ms of processor time
instead of 10 µs, and 2 ms with compression, which it repeats for each request. A sale's page has 18 files, and a flash
sale thousands of buyers who open it in the same minute.
"""

import re
from hashlib import sha256
from pathlib import Path

from starlette.types import Receive, Scope, Send

from booking.web.pages.static_assets import IMMUTABLE, REVALIDATE, StaticAsset
from booking.web.problems import Problem

FOLDER = Path(__file__).parent / "static"

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}

FILES = {
    path.name: StaticAsset.of(CONTENT_TYPES[path.suffix], path.read_bytes())
    for path in sorted(FOLDER.iterdir())
    if path.suffix in CONTENT_TYPES
}

VERSION = sha256(b"".join(name.encode() + file.etag for name, file in FILES.items())).hexdigest()[:12]
"""One version for all files: scripts import each other by relative names, so they need a common address."""

ROOT = f"/static/{VERSION}"
"""The address of the files in pages. A page and its files have the same version, even during an update."""

IMPORT = re.compile(rb'^import .* from "\./([a-z_]+\.js)";$', re.MULTILINE)


def imports_of(script: str) -> list[str]:
    """All scripts that `script` imports, directly or indirectly, without itself.

    A page preloads them, so that the browser fetches them at once, and does not need a round trip for each import.
    """
    found: dict[str, None] = {script: None}
    for name in (waiting := [script]):
        needed = [other.decode() for other in IMPORT.findall(FILES[name].body)]
        waiting += [other for other in needed if other not in found]
        found |= dict.fromkeys(needed)
    return sorted(set(found) - {script})


async def static(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /static/{version}/{name}`, cached for ever; without a version, or with an old one, revalidated each time."""
    version, slash, name = scope["path_params"]["path"].rpartition("/")
    file = FILES.get(name)
    if file is None or "/" in version or (slash and not version):
        raise Problem("not_found")
    await file.send(scope, send, cache_control=IMMUTABLE if version == VERSION else REVALIDATE)
