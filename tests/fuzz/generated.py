"""Requests that schemathesis generates from the document: what it allows, and what it does not."""

from http.client import HTTPException
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from booking.web.openapi.document import document
from tests.fuzz.counter import Tally

ANSWER_SECONDS_MAX = 30.0

RULES_OF_THE_MOMENT = {"quantity_over_limit", "idempotency_key_reused"}
"""Codes of a 422 that depend on more than the request."""

POINTERS_OF_THE_MOMENT = {
    *("?starting_after", "/opens_at", "/closes_at", "/ends_at", "/email", "/time_zone", "/url", "/payment_url"),
}
"""Fields with rules that a schema cannot express: an id of the list, an end after the start, a domain or a time zone
that exists, an address that BOOKING_WEBHOOK_ALLOW permits, a URL with certain places."""

ANY_TEXT = {"X-Request-ID", "If-None-Match", "Last-Event-ID", "Stripe-Signature"}

SETTINGS: dict[str, Any] = {
    "phases": [Phase.generate],
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}
"""A fault is recorded and not shrunk, so that a run continues to its end."""


class Generated:
    """Plays every operation of the document against one service."""

    def __init__(self, base_url: str, authorization: str, event_ids: list[int], tally: Tally) -> None:
        self._base_url = base_url
        self._authorization = authorization
        self._event_ids = event_ids
        self._tally = tally
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.hooks["response"].append(_hear_the_beginning)
        self.schema = schemathesis.openapi.from_dict(document(), config=schemathesis.Config())
        self.operations = [one.ok() for one in self.schema.get_all_operations() if isinstance(one, Ok)]

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def play(self, number: int, examples: int, begin: int) -> None:
        """Sends about so many requests to one operation; the document does not allow half of them."""
        operation = self.operations[number]
        asks = [(GenerationMode.POSITIVE, self._ask_rightly)]
        if may_be_wrong(operation.definition.raw):
            asks.append((GenerationMode.NEGATIVE, self._ask_wrongly))
        for mode, ask in asks:
            wrapped = given(case=operation.as_strategy(generation_mode=mode))(ask)
            seed(begin * 1_000 + number)(settings(max_examples=max(1, examples // len(asks)), **SETTINGS)(wrapped))()

    def _ask_rightly(self, case: Case[Any]) -> None:
        """Half of the valid requests are about an event that exists."""
        ids = self._event_ids
        known = ids[self._tally.requests % len(ids)]
        if self._tally.requests % 2:
            if "event_id" in case.path_parameters:
                case.path_parameters["event_id"] = known
            if isinstance(case.body, dict) and "event_id" in case.body:
                case.body = {**case.body, "event_id": known}
        if isinstance(case.body, dict):
            # To JSON Schema 1.0 is an integer; the service wants one to be written like one.
            case.body = {name: int(one) if isinstance(one, float) else one for name, one in case.body.items()}
        response = self._ask(case)
        if response is not None and response.status_code == 422 and not _of_the_moment(response.json()):
            self._tally.note(f"{case.as_curl_command()}\n  is right by the document, and refused: {response.text}")

    def _ask_wrongly(self, case: Case[Any]) -> None:
        self._ask(case)

    def _ask(self, case: Case[Any]) -> Any:
        label = case.operation.label
        try:
            response = case.call(
                self._base_url,
                session=self._session,
                headers={"Authorization": self._authorization},
                timeout=ANSWER_SECONDS_MAX,
            )
        except (requests.RequestException, HTTPException) as error:
            self._tally.note(f"{label}: no answer: {error!r}")
            return None
        self._tally.judge(
            label,
            case.method,
            case.formatted_path,
            response.status_code,
            {name.lower(): values[0] for name, values in response.headers.items()},
            response.content,
        )
        try:
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
        except (Failure, FailureGroup) as failure:
            self._tally.note(f"{label}: {failure}")
        return response


def may_be_wrong(operation: dict[str, Any]) -> bool:
    """Whether the document may forbid anything in a request; most headers may be any text."""
    names = {parameter["$ref"].rpartition("/")[2] for parameter in operation["parameters"]}
    return "requestBody" in operation or bool(names - ANY_TEXT)


def _of_the_moment(problem: Any) -> bool:
    if problem["code"] in RULES_OF_THE_MOMENT:
        return True
    pointers = {fault["pointer"] for fault in problem.get("errors", ())}
    return bool(pointers) and pointers <= POINTERS_OF_THE_MOMENT


def _hear_the_beginning(response: requests.Response, *_: Any, **__: Any) -> None:
    """Reads only the beginning of a stream, which has no end."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        response._content = next(response.iter_content(1024), b"")
        response._content_consumed = True  # what requests goes by
        response.close()
