"""Traces: one span for each request if they are configured, and no overhead if not."""

import http.server
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from booking.settings import SettingsError
from booking.web import tracing
from booking.web.requests import REQUEST_ID
from booking.web.tracing import Traces, traced
from tests.contract.api import open_api
from tests.fixtures.notes import take_notes
from tests.fixtures.service import running_service
from tests.fixtures.waiting import eventually
from tests.web.asgi import call, scope

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SOMEWHERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Does what the middleware and the router do to a scope."""
    scope[REQUEST_ID] = "an-id"
    if scope["path"] == "/boom":
        raise RuntimeError("boom")
    if scope["path"] != "/nowhere":
        scope["route"] = Route("/events/{event_id}", lambda _: None)
    status = {"/nowhere": 404, "/away": 503}.get(scope["path"], 200)
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(spans: InMemorySpanExporter) -> Traces:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Traces(application, provider)


@pytest.mark.parametrize(
    "telemetry",
    [
        {},
        {"OTEL_SERVICE_NAME": "shop"},
        SOMEWHERE | {"OTEL_SDK_DISABLED": "true"},
        SOMEWHERE | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_exporter_the_application_is_not_wrapped(telemetry: Mapping[str, str]) -> None:
    assert traced(application, telemetry) is application


def test_a_missing_package_is_logged_and_the_application_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = take_notes(monkeypatch, tracing)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert traced(application, {"OTEL_TRACES_EXPORTER": "carrier-pigeon"}) is application
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    assert traced(application, SOMEWHERE) is application
    assert [fields.get("exporter") for _, _, fields in notes.lines] == ["carrier-pigeon", None]
    assert "booking[otel]" in notes.lines[1][1]


def test_a_value_that_the_sdk_refuses_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME"):
        monkeypatch.setenv(name, "")  # restored after the test
    with pytest.raises(SettingsError, match="OTEL_"):
        traced(application, SOMEWHERE | {"OTEL_BSP_SCHEDULE_DELAY": "-1"})


async def test_a_span_agrees_with_the_log_line(traces: Traces, spans: InMemorySpanExporter) -> None:
    headers = [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode()), (b"authorization", b"hush")]
    await call(traces, scope("GET", "/events/hush@example.com", headers, b"token=hush"))
    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind) == ("GET /events/{event_id}", SpanKind.SERVER)
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/events/{event_id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "booking.request_id": "an-id",
    }
    assert span.context is not None
    assert span.parent is not None
    assert (span.context.trace_id, span.parent.span_id) == (int(TRACE, 16), int(PARENT, 16))
    assert span.status.status_code is StatusCode.UNSET


async def test_a_trace_begins_here_if_none_was_sent_and_a_failure_is_marked(
    traces: Traces, spans: InMemorySpanExporter
) -> None:
    await call(traces, scope("GET", "/nowhere", [(b"traceparent", b"rubbish")]))
    await call(traces, scope("POST", "/away"))
    with pytest.raises(RuntimeError):
        await call(traces, scope("GET", "/boom"))
    nowhere, away, boom = spans.get_finished_spans()
    assert (nowhere.name, nowhere.parent, nowhere.status.status_code) == ("GET", None, StatusCode.UNSET)
    assert away.status.status_code is StatusCode.ERROR
    assert boom.attributes is not None
    assert "http.response.status_code" not in boom.attributes


@contextmanager
def collector() -> Iterator[tuple[str, list[Span], list[str | None]]]:
    """An OTLP/HTTP receiver: its address, the spans that have come, and the keys they came with."""
    received: list[Span] = []
    keys: list[str | None] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            keys.append(self.headers["X-Key"])
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {one.key: one.value.string_value for one in resource.resource.attributes}
                assert names["service.name"] == "booking"
                received.extend(span for part in resource.scope_spans for span in part.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Writes nothing to the log."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received, keys
        finally:
            server.shutdown()
            thread.join()


def test_a_service_sends_spans_and_keeps_the_key_out_of_its_childrens_env(tmp_path: Path) -> None:
    with collector() as (address, received, keys):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=hush"}
        with running_service(tmp_path / "data", environment) as service:
            for pid in service.parts().values():
                assert b"hush" not in Path(f"/proc/{pid}/environ").read_bytes()
            with open_api(service) as api:
                event_id = api.event()
                (buyer,) = api.users(1)
                buyer.book(event_id)
                httpx.get(f"{service.base_url}/events/{event_id}", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        # The last of them go out when the service stops.
        eventually(lambda: any(span.name == "POST /book" for span in received), "the booking's span has come")
        brought = [span for span in received if span.trace_id.hex() == TRACE]
        assert [(span.name, span.parent_span_id.hex()) for span in brought] == [("GET /events/{event_id}", PARENT)]
        assert set(keys) == {"hush"}


def test_a_missing_trace_collector_delays_no_request_and_no_stop(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", SOMEWHERE) as service:
        assert httpx.get(f"{service.base_url}/healthz", timeout=10).status_code == 200
