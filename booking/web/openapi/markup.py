"""HTML, put together out of escaped pieces."""

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

CODE = re.compile(r"`([^`]+)`")
TOKEN = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")(?P<colon>\s*:)?|(?P<word>\b(?:true|false|null)\b|-?\b\d[\d.]*\b)')


def element(name: str, inner: str = "", /, **attributes: str) -> str:
    """One element around HTML that is safe already. `class_` stands for the attribute `class`."""
    given = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items() if value)
    return f"<{name}{given}>{inner}</{name}>"


def prose(text: str) -> str:
    """Text with `code` in it, and with paragraphs and lists where it has any."""
    blocks = []
    for block in text.strip().split("\n\n"):
        if block.startswith("- "):
            items = re.split(r"\n(?=- )", block)
            blocks.append(element("ul", "".join(element("li", phrase(item.removeprefix("- "))) for item in items)))
        else:
            blocks.append(element("p", phrase(block)))
    return "".join(blocks)


def phrase(text: str) -> str:
    """Text with `code` in it, on a line."""
    parts = CODE.split(text)
    return "".join(element("code", escape(part)) if at % 2 else escape(part) for at, part in enumerate(parts))


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are safe already; the first of a row is its heading. Nothing where there are no rows."""
    body = "".join(
        element("tr", element("th", first, scope="row") + "".join(element("td", cell) for cell in rest))
        for first, *rest in rows
    )
    if not body:
        return ""
    head = element("thead", element("tr", "".join(element("th", escape(name), scope="col") for name in columns)))
    return element(
        "div", element("table", element("caption", escape(caption)) + head + element("tbody", body)), class_="scroll"
    )


def sample(value: Any) -> str:
    """An example: a text as it is, anything else as JSON in colours."""
    if isinstance(value, str):
        return _block(escape(value))
    text = json.dumps(value, indent=2, ensure_ascii=False)
    pieces, end = [], 0
    for token in TOKEN.finditer(text):
        pieces.append(escape(text[end : token.start()]))
        kind = "key" if token["colon"] else "text" if token["string"] else "value"
        pieces.append(element("span", escape(token["string"] or token["word"]), class_=kind) + (token["colon"] or ""))
        end = token.end()
    return _block("".join(pieces) + escape(text[end:]))


def command(text: str) -> str:
    """Something to type into a shell."""
    return _block(escape(text), class_="command")


def _block(inner: str, **attributes: str) -> str:
    # It scrolls sideways, so the keyboard has to get there, too.
    return element("pre", element("code", inner), tabindex="0", **attributes)
