"""Checks the settings: which are set, which are unknown, and which are dangerous."""

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from booking.domain.diagnosis import Finding, ok, warning
from booking.settings import PLATFORM_SPELLINGS, Settings

PREFIX = "BOOKING_"

OTHER_VARIABLES = {"BOOKING_PYTHON"}
"""Variables that begin like a setting, but are only for scripts/."""

ANY = {"*", "0.0.0.0/0", "::/0"}


def check_settings(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """The findings about the settings alone."""
    return [_as_read(settings), *_unknown(environment), *_dangerous(settings)]


def shown(settings: Settings, name: str) -> str:
    """A setting's value for display. A secret, or an address that may hold one, is not shown."""
    value = getattr(settings, name)
    if value is None:
        return "-"
    if type(settings).model_fields[name].repr is False or name == "jwt_public_key":
        return "(set)"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _as_read(settings: Settings) -> Finding:
    names = [name for name in type(settings).model_fields if name in settings.model_fields_set]
    values = ", ".join(f"{name} {shown(settings, name)}" for name in names)
    return ok("settings", f"set: {values}; all others by default" if values else "all by default")


def _unknown(environment: Mapping[str, str]) -> Iterator[Finding]:
    known = {PREFIX + name.upper() for name in Settings.model_fields.keys() - {"telemetry"}}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known | OTHER_VARIABLES:
            near = get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}?" if near else "remove it from the environment"
            yield warning("settings", f"{name} is not a setting and has no effect", advice)
    for field, name in PLATFORM_SPELLINGS.items():
        own_name = PREFIX + field.upper()
        if environment.get(name) and environment.get(own_name) and environment[name] != environment[own_name]:
            yield warning("settings", f"{name} and {own_name} differ; {own_name} counts", "set only one of them")


def _dangerous(settings: Settings) -> Iterator[Finding]:
    if settings.rate_limit == "off":
        yield warning(
            "rate limit",
            "off: one client may use all of the capacity, and guess passwords without a limit",
            "set BOOKING_RATE_LIMIT to on, unless only you can call the service",
        )
    if not ANY.isdisjoint(settings.trusted_proxies):
        yield warning(
            "trusted proxies",
            "X-Forwarded-For is trusted from any client, so clients can avoid the limit of their address",
            "name the addresses of your own proxies in BOOKING_TRUSTED_PROXIES",
        )
    if "*" in settings.cors_origins:
        yield warning("origins", "every web page may call the API", "name your own pages in BOOKING_CORS_ORIGINS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if settings.workers > cores:
        yield warning(
            "workers",
            f"{settings.workers} web workers on {cores} processors: they compete with Redis and the persister",
            f"set BOOKING_WORKERS to {max(1, cores - 1)} or less",
        )
