"""OpenTelemetry traces: one server span a request, if the SDK is installed and a target is configured."""

import asyncio
import os
import threading
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from booking.settings import SettingsError
from booking.web.requests import REQUEST_ID

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SDK = "opentelemetry.sdk"
EXPORTERS = "opentelemetry_traces_exporter"
"""The group of entry points with the exporters, by the names that OTEL_TRACES_EXPORTER accepts."""

TARGETS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
"""If any of these variables is set, traces are sent, to the target that it names."""

LAST_SPANS_SECONDS_MAX = 2.0
"""How long a stopping worker waits until the last spans are sent."""

ERROR_STATUS_MIN = 500
"""With this status or a higher one, a server span is an error (semantic conventions for HTTP)."""

log = structlog.get_logger()


def traced(application: ASGIApp, telemetry: Mapping[str, str]) -> ASGIApp:
    """The application in a middleware that traces it; the application itself if traces are not configured.

    `telemetry` holds the OTEL_* variables of the service's environment. Raises SettingsError for a value that the SDK
    does not accept.
    """
    if not _is_wanted(telemetry):
        return application
    if find_spec("opentelemetry") is None or find_spec(SDK) is None:
        log.warning("traces are wanted, but OpenTelemetry's SDK is not installed: pip install 'booking[otel]'")
        return application
    try:
        provider = _provider(telemetry)
    except ValueError as error:
        raise SettingsError(f"OTEL_*: {error}") from None
    return application if provider is None else Traces(application, provider)


def _is_wanted(telemetry: Mapping[str, str]) -> bool:
    if telemetry.get("OTEL_SDK_DISABLED", "").lower() == "true" or telemetry.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(telemetry.get(name) for name in TARGETS)


def _provider(telemetry: Mapping[str, str]) -> "TracerProvider | None":
    """A provider with the configured exporters. None, with a warning in the log, if one of them is not installed."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ.update(telemetry)  # the SDK reads them here; other processes cannot see a change made here
    if "service.name=" not in telemetry.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "booking")
    provider = TracerProvider(shutdown_on_exit=False)
    for name in telemetry.get("OTEL_TRACES_EXPORTER", "otlp").split(","):
        found = list(entry_points(group=EXPORTERS, name=_exporter(name.strip(), telemetry)))
        if not found:
            log.warning("no such exporter of traces is installed, so there are none", exporter=name.strip())
            return None
        provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    return provider


def _exporter(name: str, telemetry: Mapping[str, str]) -> str:
    """The name of an exporter's entry point. OTLP uses HTTP by default; gRPC's exporter is a separate package."""
    protocol = telemetry.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or telemetry.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return name if name != "otlp" else f"otlp_proto_{'grpc' if protocol == 'grpc' else 'http'}"


class Traces:
    """The outermost middleware. It reads the request's scope, which inner middleware and the router have filled.

    A span has the route's pattern, and neither the path nor the user, because both may hold personal data.
    """

    def __init__(self, application: ASGIApp, provider: "TracerProvider") -> None:
        from opentelemetry import propagate
        from opentelemetry.trace import SpanKind, Status, StatusCode

        self._application = application
        self._provider = provider
        self._extract = propagate.extract
        self._tracer = provider.get_tracer("booking")
        self._kind = SpanKind.SERVER
        self._error = Status(StatusCode.ERROR)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Traces one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope["method"]
        span = self._tracer.start_span(method, context=self._extract(headers), kind=self._kind)
        status = 0

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, send_and_record)
        finally:
            if span.is_recording():
                self._describe(span, scope, status)
            span.end()

    def _describe(self, span: Any, scope: Scope, status: int) -> None:
        route = getattr(scope.get("route"), "path", None)
        if route is not None:
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.route", route)
        span.set_attribute("http.request.method", scope["method"])
        span.set_attribute("url.scheme", scope.get("scheme", "http"))
        span.set_attribute("booking.request_id", scope.get(REQUEST_ID, ""))
        if status:  # 0: the client disconnected before a response
            span.set_attribute("http.response.status_code", status)
        if status >= ERROR_STATUS_MIN:
            span.set_status(self._error)

    async def flush(self) -> None:
        """Sends the last spans. Waits LAST_SPANS_SECONDS_MAX at most, even if the collector does not respond."""
        # A daemon thread, because a collector that is down must not keep the service from stopping.
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        end = asyncio.get_running_loop().time() + LAST_SPANS_SECONDS_MAX
        while thread.is_alive() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - a thread cannot be awaited
            await asyncio.sleep(0.01)
