"""The page at /docs, out of the document: plain HTML, so that it needs no script, no network and no second viewer."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from booking.web.openapi import fields
from booking.web.openapi.markup import command, element, phrase, prose, sample, table
from booking.web.openapi.schemas import PLACE

Part = dict[str, Any]

PARAMETERS = ("Parameter", "In", "Type", "Meaning")

TOKENS = {"organizer": "$organizer", "": "$token"}


class Reference:
    """Fills the page from one document."""

    def __init__(self, document: Part) -> None:
        self._document = document
        self._components = document["components"]

    def contents(self) -> str:
        """The navigation: every operation under its chapter."""
        return "".join(
            element("h2", escape(tag["name"])) + element("ul", "".join(self._links(tag["name"])))
            for tag in self._document["tags"]
        )

    def introduction(self) -> str:
        """What holds for every call, and how to sign in."""
        schemes = (
            (element("code", escape(name)), phrase(scheme["description"]))
            for name, scheme in self._components["securitySchemes"].items()
        )
        return prose(self._document["info"]["description"]) + table("Signing in", ("Scheme", "Meaning"), schemes)

    def chapters(self) -> str:
        """Every operation."""
        return "".join(
            element("h2", escape(tag["name"]), id=f"tag-{tag['name']}")
            + element("p", phrase(tag["description"]), class_="lead")
            + "".join(self._operation(*one) for one in self._operations(tag["name"]))
            for tag in self._document["tags"]
        )

    def problems(self) -> str:
        """Every code, with its status and the link to its page."""
        return table(
            "Every way a call can fail",
            ("Code", "Status", "Meaning"),
            (
                (
                    element("a", element("code", escape(code)), href=f"/problems/{code}"),
                    str(example["value"]["status"]),
                    phrase(self._components["schemas"][code]["description"]),
                )
                for code, example in self._components["examples"].items()
            ),
        )

    def schemas(self) -> str:
        """The shapes that bodies and answers have, those of the problems apart."""
        codes = self._components["examples"]
        return "".join(
            element(
                "section",
                element("h3", escape(name))
                + prose(schema.get("description", ""))
                + (table(name, fields.COLUMNS, fields.rows(schema)) or element("p", fields.kind(schema))),
                id=f"schema-{name}",
            )
            for name, schema in self._components["schemas"].items()
            if name not in codes
        )

    def _operations(self, tag: str) -> Iterator[tuple[str, str, Part]]:
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                if tag in operation["tags"]:
                    yield path, method.upper(), operation

    def _links(self, tag: str) -> Iterator[str]:
        for path, method, operation in self._operations(tag):
            words = _method(method) + " " + element("code", escape(path))
            yield element("li", element("a", words, href=f"#{operation['operationId']}", title=operation["summary"]))

    def _operation(self, path: str, method: str, operation: Part) -> str:
        title = _method(method) + " " + element("code", escape(path), class_="path")
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        return element(
            "section",
            element("h3", element("a", title, href=f"#{operation['operationId']}"))
            + element("p", escape(operation["summary"]) + ".", class_="summary")
            + prose(operation["description"])
            + table("Parameters", PARAMETERS, map(_parameter_row, self._parameters(operation)))
            + (self._body(body) if body else "")
            + command(_curl(path, method, operation, body))
            + element("h4", "Answers")
            + "".join(self._answer(status, answer) for status, answer in operation["responses"].items()),
            id=operation["operationId"],
            class_="operation",
        )

    def _parameters(self, operation: Part) -> Iterator[Part]:
        for parameter in operation["parameters"]:
            yield self._components["parameters"][parameter["$ref"].rpartition("/")[2]]

    def _body(self, content: Part) -> str:
        schema = self._components["schemas"][fields.schema_name(content["schema"])]
        return table("Body", fields.COLUMNS, fields.rows(schema))

    def _answer(self, status: str, answer: Part) -> str:
        codes = [code for content in answer.get("content", {}).values() for code in content.get("examples", ())]
        told = " ".join(element("code", escape(code)) for code in codes) or phrase(answer["description"])
        ok = "ok" if status < "400" else "failure"
        summary = element("summary", element("span", status, class_=f"status {ok}") + " " + told)
        headers = self._headers(answer["headers"])
        inner = "".join(self._content(media, content) for media, content in answer.get("content", {}).items())
        return element("details", summary + (inner or prose(answer["description"])) + headers)

    def _headers(self, headers: Part) -> str:
        found = ((name, self._components["headers"][one["$ref"].rpartition("/")[2]]) for name, one in headers.items())
        return table(
            "Headers",
            ("Header", "Meaning"),
            ((element("code", escape(name)), phrase(header["description"])) for name, header in found),
        )

    def _content(self, media: str, content: Part) -> str:
        codes = content.get("examples")
        if codes:
            return "".join(self._problem(code) for code in codes)
        shown = sample(content["example"]) if "example" in content else ""
        return element("p", element("code", escape(media)) + _shape(content["schema"])) + shown

    def _problem(self, code: str) -> str:
        schema = self._components["schemas"][code]
        link = element("a", element("code", escape(code)), href=f"/problems/{code}")
        return element("p", f"{link} {phrase(schema['description'])}")


def _shape(schema: Part) -> str:
    """Where what is in the envelope is described."""
    data = schema.get("properties", {}).get("data", schema)
    kind = fields.kind(data)
    return f": {kind}" if PLACE in str(data) else ""


def _method(method: str) -> str:
    return element("span", method, class_=f"method {method.lower()}")


def _parameter_row(parameter: Part) -> tuple[str, ...]:
    schema = parameter["schema"]
    return (
        element("code", escape(parameter["name"])),
        escape(parameter["in"]),
        fields.kind(schema),
        fields.meaning(schema, parameter["description"]),
    )


def _curl(path: str, method: str, operation: Part, body: Part | None) -> str:
    """The call as a command line."""
    words = ["curl -N" if operation["operationId"] == "listen" else "curl"]
    if method == "PATCH":
        words.append("-X PATCH")
    words.append("http://127.0.0.1:8000" + path.replace("{event_id}", "1").replace("{code}", "sold_out"))
    if operation["security"] and {} not in operation["security"]:
        roles = operation["security"][0]["bearer"]
        words.append(f'-H "Authorization: Bearer {TOKENS["organizer" if roles else ""]}"')
    if body is not None:
        words.append(f"--json '{json.dumps(body['example'])}'")
    return " \\\n  ".join(words)
