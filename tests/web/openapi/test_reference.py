"""The page shows all of the document, links to places that exist, and needs nothing but its style sheet."""

import re
from html.parser import HTMLParser

import pytest

from booking.web.openapi import endpoint
from booking.web.openapi.document import document
from booking.web.openapi.fields import kind, limits
from booking.web.openapi.markup import element, phrase, prose, sample, table
from booking.web.problems import KINDS

DOCUMENT = document()
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """A page's elements, in order; fails where they are not nested properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute))]


@pytest.fixture(scope="module")
def text() -> str:
    return endpoint._docs().body.decode()


def test_every_operation_and_every_code_is_on_it(text: str) -> None:
    page = Page(text)
    for path, methods in DOCUMENT["paths"].items():
        assert f"<code>{path}</code>" in text
        for operation in methods.values():
            assert operation["operationId"] in page.all("id")
            assert f"#{operation['operationId']}" in page.all("href")
    assert {f"/problems/{code}" for code in KINDS} <= set(page.all("href"))


def test_every_link_within_it_leads_somewhere(text: str) -> None:
    page = Page(text)
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.all("href") if href.startswith("#")} <= set(ids)


def test_it_needs_no_script_no_inline_style_and_nobody_else(text: str) -> None:
    page = Page(text)
    names = {name for name, _ in page.elements}
    assert not names & {"script", "style", "iframe", "img", "form"}
    for _, attributes in page.elements:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
    assert not [href for href in page.all("href") if "//" in href]


def test_every_table_has_a_caption_and_headings(text: str) -> None:
    tables = re.findall(r"<table>.*?</table>", text, re.DOTALL)
    assert len(tables) > 40
    for one in tables:
        assert "<caption>" in one
        assert 'scope="col"' in one
        assert 'scope="row"' in one


def test_text_from_the_document_is_text_on_the_page() -> None:
    assert phrase("a < `b & c`") == "a &lt; <code>b &amp; c</code>"
    assert sample({"<b>": "</pre>\"'"}).count("<b>") == 0
    assert "</pre>" not in sample("</pre>")[:-6]
    assert element("a", "x", href='"><script>', class_="") == '<a href="&quot;&gt;&lt;script&gt;">x</a>'


def test_prose_knows_paragraphs_and_lists() -> None:
    assert prose("One.\n\n- a\n  b\n- c\n") == "<p>One.</p><ul><li>a\n  b</li><li>c</li></ul>"


def test_an_empty_table_is_left_out() -> None:
    assert table("Parameters", ("Name",), []) == ""


def test_a_type_is_told_in_words() -> None:
    assert (
        kind({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}) == "string (date-time) or null"
    )
    assert kind({"type": "array", "items": {"$ref": "#/components/schemas/Event"}}).startswith("list of <a")
    assert kind({"enum": ["a", "b"]}) == "<code>a</code> | <code>b</code>"
    assert kind({"const": False}) == "<code>false</code>"
    assert list(limits({"minimum": 1, "maximum": 10_000_000, "default": None})) == [
        "at least 1",
        "at most 10,000,000",
        "default null",
    ]
