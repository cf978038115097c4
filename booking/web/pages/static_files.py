"""Style, scripts and pictures of the pages, under an address that changes with their content.

They are sent from memory. Starlette's StaticFiles goes to a thread for each step of each file: 1 ms of processor time
instead of 10 µs, 2 ms with its compression, which it repeats for each request. A sale's page has 18 files, and a flash
sale thousands of buyers who open it in the same minute.
"""

import re
from hashlib import sha256
from pathlib import Path

from starlette.types import Receive, Scope, Send

from booking.web.pages.static_assets import FOR_EVER, REVALIDATE, StaticAsset
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
"""Of all the files at once: scripts import each other by names beside their own, so they have to move together."""

ROOT = f"/static/{VERSION}"
"""Where the pages look for them. A page and its files are of one version even while an update is under way."""

IMPORT = re.compile(rb'^import .* from "\./([a-z_]+\.js)";$', re.MULTILINE)


def imports_of(script: str) -> list[str]:
    """Every script that this one needs, itself left out: a page names them all, so that the browser asks for them at
    once instead of reading its way from import to import, a journey to the server each.
    """
    found: dict[str, None] = {script: None}
    for name in (waiting := [script]):
        needed = [other.decode() for other in IMPORT.findall(FILES[name].body)]
        waiting += [other for other in needed if other not in found]
        found |= dict.fromkeys(needed)
    return sorted(set(found) - {script})


async def static(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /static/{version}/{name}`, kept for ever; `/static/{name}`, and another version's, asked for each time."""
    version, slash, name = scope["path_params"]["path"].rpartition("/")
    file = FILES.get(name)
    if file is None or "/" in version or (slash and not version):
        raise Problem("not_found")
    await file.send(scope, send, cache_control=FOR_EVER if version == VERSION else REVALIDATE)
