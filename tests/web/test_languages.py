"""The catalogues of the pages' texts, and the choice of a language."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from booking.web.pages import FOLDER, wants_html
from booking.web.pages.languages import PLACE, TEXTS, language_of
from booking.web.pages.static_files import FILES
from booking.web.pages.static_files import FOLDER as STATIC

from .asgi import scope

NAMES = re.compile(r"\{(\w+)\}")
USED = re.compile(r'\bt\(\s*(?:[^"`()]*\? )?"([a-z_.]+)"')
QUOTED = re.compile(r"""["']([a-z_]+(?:\.[a-z_]+)+)["']""")
BEGINNINGS = re.compile(r"`([a-z_.]+\.)\$\{")

LITERAL = re.compile(r'"([a-z_.]+)"')
CALL = re.compile(r"""(?x)
    \bt(?=\(\s*
    (?P<keys>[^`(){},]*(?:\([^()]*\)[^`(){},]*)?)
    (?:,\s*(?P<values>\{(?:[^{}]|\{[^{}]*\})*\}|[\w.]+(?:\([^()]*\))?))?
    ,?\s*\))""")
"""A call of a script's `t`: its keys, and its values as written: an object, a variable or another call."""

NAMED = re.compile(r"(?:^|,)\s*(\w+)")
CALLS_MIN = 250
"""Fewer than there are. A test that sees none of the calls would prove nothing."""

SAME = ("page.brand", "index.title", "notices.text.confirmed", "webhooks.title", "webhooks.one")
"""Texts that are the same in every language."""

CARRIED = re.compile(r"^const texts = (\{.*\});$", re.MULTILINE)

SOURCES = {
    path: path.read_text(encoding="utf-8")
    for path in [*STATIC.glob("*.js"), *Path(FOLDER).glob("*.html"), FOLDER / "about.py"]
}


def names(text: Any) -> set[str]:
    """The values that a text takes, in any of its forms."""
    forms = text.values() if isinstance(text, dict) else [text]
    return {name for form in forms for name in NAMES.findall(form)}


def values_of(written: str | None) -> set[str] | None:
    """The names of the values that a call gives; None if they cannot be seen there."""
    if written is None:
        return set()
    inner = written[1:-1] if written.startswith("{") else f"...{written}"
    while (flat := re.sub(r"\([^()]*\)|\{[^{}]*\}|\[[^\[\]]*\]|`[^`]*`|\"[^\"]*\"", "", inner)) != inner:
        inner = flat
    inner = re.sub(r"\.\.\.many\b", "count", inner)  # of ticket.js: the quantity of a booking
    return None if "..." in inner else set(NAMED.findall(inner))


@pytest.mark.parametrize("language", sorted(set(TEXTS) - {"en"}))
def test_a_language_has_every_text_with_the_same_values(language: str) -> None:
    own = TEXTS[language]
    assert set(own) == set(TEXTS["en"])
    for key, text in TEXTS["en"].items():
        assert names(own[key]) == names(text), key
        assert own[key] != text or key in SAME, f"{key} is not translated"


def test_every_text_that_a_page_asks_for_is_in_the_catalogue() -> None:
    asked = {key for source in SOURCES.values() for pattern in (USED, PLACE) for key in pattern.findall(source)}
    assert asked <= set(TEXTS["en"])


@pytest.mark.parametrize("page", ["index", "sale", "me", "account", "reset", "console", "webhooks"])
def test_a_page_carries_the_texts_that_it_asks_for_and_not_those_of_others(page: str) -> None:
    script = FILES[f"{page}.de.js"].body.decode()
    (carried,) = CARRIED.findall(script)
    texts = json.loads(carried)
    assert {key for pattern in (USED, QUOTED) for key in pattern.findall(script)} & set(TEXTS["de"]) <= set(texts)
    assert all(any(key.startswith(begun) for key in texts) for begun in BEGINNINGS.findall(script))
    assert ("console.title" in texts) == (page in ("console", "webhooks"))
    assert ("field.venue" in texts) == (page in ("console", "webhooks"))
    assert len(texts) < len(TEXTS["de"])


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_a_script_gives_a_text_the_values_that_it_takes(language: str) -> None:
    seen = 0
    for path, source in SOURCES.items():
        for call in CALL.finditer(source):
            asked = [key for key in LITERAL.findall(call["keys"]) if key in TEXTS[language]]
            given = values_of(call["values"])
            if not asked or given is None:
                continue
            seen += 1
            taken = [names(TEXTS[language][key]) for key in asked]
            place = f"{path.name}: {call['keys']}"
            assert set().union(*taken) <= given, place
            chooses = any(isinstance(TEXTS[language][key], dict) for key in asked)
            assert given <= set().union(*taken) | ({"count"} if chooses else set()), place
    assert seen > CALLS_MIN


def test_every_text_of_the_catalogue_is_asked_for() -> None:
    told = {key for source in SOURCES.values() for pattern in (USED, PLACE, QUOTED) for key in pattern.findall(source)}
    begun = tuple(beginning for source in SOURCES.values() for beginning in BEGINNINGS.findall(source))
    unused = {key for key in TEXTS["en"] if key not in told and not key.startswith((*begun, "missing."))}
    assert unused == set()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (b"", "en"),
        (b"de", "de"),
        (b"de-AT,de;q=0.9,en;q=0.8", "de"),
        (b"fr,en;q=0.5,de;q=0.6", "de"),
        (b"fr-FR, it;q=0.5", "en"),
        (b"en, de", "en"),
        (b"de;q=0, en;q=0.1", "en"),
        (b"de;q=0", "en"),
        (b"DE", "de"),
        (b";;q=,,\xff;q=2", "en"),
    ],
)
def test_the_language_is_the_one_that_the_client_prefers(header: bytes, language: str) -> None:
    assert language_of(scope(headers=[(b"accept-language", header)])) == language


@pytest.mark.parametrize(
    ("accept", "wants"),
    [
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        (b"text/html", True),
        (b"", False),
        (b"*/*", False),
        (b"application/json, text/html;q=0.5", False),
        (b"application/problem+json, text/html", False),
        (b"text/html, application/json", True),
        (b"application/json;q=0.9, text/html", True),
        (b"text/html;q=0", False),
    ],
)
def test_html_is_for_those_who_name_it_and_prefer_it(accept: bytes, wants: bool) -> None:
    assert wants_html(scope(headers=[(b"accept", accept)])) is wants
