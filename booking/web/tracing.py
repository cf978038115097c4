"""OpenTelemetry traces: one server span a request, where its SDK is installed and told where to send them."""

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
"""The group of entry points under which exporters are found by the names that OTEL_TRACES_EXPORTER takes."""

PLACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
"""Any of these says that traces are wanted, and where."""

LAST_SPANS_SECONDS_MAX = 2.0
"""How long, at a stop, the last spans may take to go out."""

ERROR_STATUS_MIN = 500
"""From here on a server's span is an error (semantic conventions for HTTP)."""

log = structlog.get_logger()


def traced(application: ASGIApp, telemetry: Mapping[str, str]) -> ASGIApp:
    """The application in a layer that traces it; the application itself where no traces are wanted.

    `telemetry` holds the OTEL_* variables of the environment that the service was started in. Raises SettingsError for
    a value that the SDK does not take.
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
    return any(telemetry.get(name) for name in PLACES)


def _provider(telemetry: Mapping[str, str]) -> "TracerProvider | None":
    """A provider with the exporters that are asked for; None, and a warning, where one of them is not installed."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ.update(telemetry)  # where the SDK looks; what is told a process so cannot be read from outside it
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
    """OTLP goes over HTTP unless gRPC is asked for, whose exporter is a package of its own."""
    protocol = telemetry.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or telemetry.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return name if name != "otlp" else f"otlp_proto_{'grpc' if protocol == 'grpc' else 'http'}"


class Traces:
    """The outermost layer: it goes by what the frame and the router have noted in the request's scope.

    As in the log, a path's pattern is told and never the path, and no user: either may hold anything.
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

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, send_noted)
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
        if status:  # otherwise nobody waited for an answer
            span.set_attribute("http.response.status_code", status)
        if status >= ERROR_STATUS_MIN:
            span.set_status(self._error)

    async def flush(self) -> None:
        """Sends the last spans. Waits for LAST_SPANS_SECONDS_MAX at most, whatever the collector does."""
        # A thread that nobody waits for: a collector that is away must not keep the service from stopping.
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        end = asyncio.get_running_loop().time() + LAST_SPANS_SECONDS_MAX
        while thread.is_alive() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - it is a thread
            await asyncio.sleep(0.01)
