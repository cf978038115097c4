"""Styles, scripts and images of the pages, under an address that changes with their content.

They are sent from memory. Starlette's StaticFiles uses a thread for each step of each file: 1 ms of processor time
instead of 10 µs, and 2 ms with compression, which it repeats for each request. A flash sale has thousands of buyers who
open its page in the same minute. A page loads one style sheet and one script, which is made of many.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import orjson
from starlette.types import Receive, Scope, Send

from booking.web.pages.bundles import bundle, entries_of, scripts_of
from booking.web.pages.languages import DEFAULT, TEXTS, Text
from booking.web.pages.static_assets import IMMUTABLE, REVALIDATE, StaticAsset
from booking.web.problems import Problem

FOLDER = Path(__file__).parent / "static"

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}

STYLES = ("theme.css", "booking.css")
"""The style sheets of `pages.css`, in their order."""

CATALOGUE = "catalogue.js"
"""The module with the texts of one language."""

KINDS = re.compile(r"[\"`]([a-z_]+)\.")
"""The first part of a text's key, as scripts write it: `"sale.lost"`, `` `state.${state}` ``."""

LIBRARY = "rapidoc.js"
"""Not a script of ours: it stays as it is."""


def catalogue(language: str, texts: Mapping[str, Text]) -> str:
    """The module with these texts of a language."""
    return f'export const language = "{language}";\nexport const texts = {orjson.dumps(texts).decode()};\n'


def _texts_for(scripts: str, language: str) -> dict[str, Text]:
    """The texts of the kinds that scripts name: a buyer's page does not carry those of the console."""
    kinds = set(KINDS.findall(scripts))
    return {key: text for key, text in TEXTS[language].items() if "." not in key or key.partition(".")[0] in kinds}


def script_of(page: str, language: str) -> str:
    """The name of a page's script in a language."""
    return f"{page}.{language}.js"


def _read() -> dict[str, bytes]:
    """All files by their names."""
    found = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in CONTENT_TYPES}
    found["pages.css"] = b"\n".join(found[name] for name in STYLES)
    scripts = {name: body.decode() for name, body in found.items() if name.endswith(".js") and name != LIBRARY}
    scripts[CATALOGUE] = ""
    for entry in entries_of(scripts):
        code = "".join(scripts[name] for name in scripts_of(entry, scripts))
        for language in TEXTS:
            sources = scripts | {CATALOGUE: catalogue(language, _texts_for(code, language))}
            found[script_of(entry.removesuffix(".js"), language)] = bundle(entry, sources).encode()
    found[CATALOGUE] = catalogue(DEFAULT, TEXTS[DEFAULT]).encode()
    return found


FILES = {name: StaticAsset.of(CONTENT_TYPES[Path(name).suffix], body) for name, body in _read().items()}

VERSION = sha256(b"".join(name.encode() + file.etag for name, file in FILES.items())).hexdigest()[:12]
"""One version for all files: scripts import each other by relative names, so they need a common address."""

ROOT = f"/static/{VERSION}"
"""The address of the files in pages. A page and its files have the same version, even during an update."""


async def static(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /static/{version}/{name}`, cached for ever; without a version, or with an old one, revalidated each time."""
    version, slash, name = scope["path_params"]["path"].rpartition("/")
    file = FILES.get(name)
    if file is None or "/" in version or (slash and not version):
        raise Problem("not_found")
    await file.send(scope, send, cache_control=IMMUTABLE if version == VERSION else REVALIDATE)
