"""The texts of mails: one file a language, and how a mail's subject, text and HTML are made from it."""

import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from functools import cache
from html import escape
from pathlib import Path
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

FOLDER = Path(__file__).parent

DEFAULT = "en"
"""The language of every mail, so far."""

_LINK = (
    "display:inline-block;padding:0.7em 1.4em;border-radius:0.4em;background:#1d4ed8;color:#fff;text-decoration:none"
)


class Language:
    """The texts of one language."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._texts: Mapping[str, Any] = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
        self._words = self._texts["words"]

    def word(self, name: str) -> str:
        """One of the texts that are parts of a line."""
        text: str = self._words[name]
        return text

    def tickets(self, count: int) -> str:
        """`1 ticket`, `2 tickets`."""
        text: str = self._words["ticket" if count == 1 else "tickets"]
        return text.format(count=count)

    def moment(self, at_ms: int, zone: str | None) -> str:
        """A time in a zone of the IANA database, which it names; in UTC if there is none."""
        at = datetime.fromtimestamp(at_ms / 1000, _zone_of(zone))
        text: str = self._words["moment"]
        return text.format(
            hour=f"{at:%H}",
            minute=f"{at:%M}",
            day=at.day,
            month=self._words["months"][at.month - 1],
            year=at.year,
            zone=at.tzname(),
        )

    def mail(self, name: str, facts: Mapping[str, str | None], link: str, site: str) -> tuple[str, str, str]:
        """The subject, the text and the HTML of the mail `name`. `link` is its address, and `site` the first page's."""
        texts = self._texts[name]
        known = {**facts, "site": site}
        before = list(_filled(texts["lines"], known))
        after = [*_filled(texts["after"], known), self._words["footer"].format(site=site)]
        text = "\n\n".join([*before, f"{texts['link']}:\n{link}", *after]) + "\n"
        subject: str = texts["subject"].format_map(known)
        return subject, text, self._html(subject, before, (texts["link"], link), after)

    def _html(self, subject: str, before: list[str], link: tuple[str, str], after: list[str]) -> str:
        words, address = link
        paragraphs = [
            *(f"<p>{escape(line)}</p>" for line in before),
            f'<p><a href="{escape(address)}" style="{_LINK}">{escape(words)}</a></p>',
            *(f"<p>{escape(line)}</p>" for line in after),
        ]
        return (
            f'<!doctype html>\n<html lang="{self.name}">\n<head><meta charset="utf-8"><title>{escape(subject)}</title>'
            '</head>\n<body style="font-family:sans-serif;line-height:1.5;max-width:36em">\n'
            + "\n".join(paragraphs)
            + "\n</body>\n</html>\n"
        )


@cache
def language(name: str = DEFAULT) -> Language:
    """The texts of a language, read once."""
    return Language(name)


def _filled(lines: list[str], facts: Mapping[str, str | None]) -> Iterator[str]:
    """The lines with their facts; a line that names a missing fact is left out."""
    for line in lines:
        names = [name for _, name, _, _ in Formatter().parse(line) if name is not None]
        if all(facts.get(name) is not None for name in names):
            yield line.format_map(facts)


def _zone_of(name: str | None) -> tzinfo:
    try:
        return UTC if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # this machine's database lacks it
        return UTC
