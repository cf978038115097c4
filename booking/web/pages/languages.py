"""The languages of the pages: one catalogue of texts each, and which of them a client wants.

Another language is another file in `words/`. A text that it lacks is taken from the default language. A text may hold
`{name}` for a value. An object in place of a text has a form for each plural category of Unicode (`one`, `other`, …).
"""

import re
from html import escape
from pathlib import Path

import orjson
from starlette.types import Scope

from booking.web.headers import fields_of

FOLDER = Path(__file__).parent / "words"

DEFAULT = "en"
"""The language of a client that asks for none of those that there are."""

Text = str | dict[str, str]

_OWN: dict[str, dict[str, Text]] = {
    path.stem: orjson.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))
}

TEXTS: dict[str, dict[str, Text]] = {language: _OWN[DEFAULT] | own for language, own in _OWN.items()}
"""The texts of each language by their keys."""

PLACE = re.compile(r"\{\{([a-z_.]+)\}\}")
"""A place in a template for the text of this key."""

_WEIGHT = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*")


def filled_in(template: str, language: str) -> str:
    """A template with its texts in a language, as HTML."""
    return PLACE.sub(lambda place: escape(text(language, place[1]), quote=True), template)


def text(language: str, key: str) -> str:
    """A text without plural forms. Raises KeyError if there is none."""
    found = TEXTS[language][key]
    if isinstance(found, dict):
        raise KeyError(f"{key} has plural forms")
    return found


def language_of(scope: Scope) -> str:
    """The language that the client prefers (RFC 9110, section 12.5.4). A variant, such as de-AT, is its language."""
    best, best_weight = DEFAULT, 0.0
    for value, weight in weighted(fields_of(scope).get(b"accept-language", b"")):
        language = value.partition("-")[0]
        if language in TEXTS and weight > best_weight:
            best, best_weight = language, weight
    return best


def weighted(header: bytes) -> list[tuple[str, float]]:
    """The values of an Accept header with their weights, from 0 to 1, in the header's order and in lower case."""
    found = []
    for part in header.decode("latin-1").lower().split(","):
        value, *parameters = part.split(";")
        weights = [float(match[1]) for parameter in parameters if (match := _WEIGHT.fullmatch(parameter))]
        if value.strip():
            found.append((value.strip(), weights[0] if weights else 1.0))
    return found
