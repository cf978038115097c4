"""The settings: which were set, which are not known, and which are dangerous."""

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from booking.domain.diagnosis import Finding, ok, warning
from booking.settings import PLATFORM_SPELLINGS, Settings

PREFIX = "BOOKING_"

OTHER_VARIABLES = {"BOOKING_PYTHON"}
"""What begins like a setting and is read by scripts/ alone."""

ANYBODY = {"*", "0.0.0.0/0", "::/0"}


def check_settings(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """What can be said of the settings without looking anywhere else."""
    return [_as_read(settings), *_unknown(environment), *_dangerous(settings)]


def shown(settings: Settings, name: str) -> str:
    """A setting's value for a person; that of a secret, or of an address that may hold one, is not shown."""
    value = getattr(settings, name)
    if value is None:
        return "-"
    if type(settings).model_fields[name].repr is False or name == "jwt_public_key":
        return "(set)"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _as_read(settings: Settings) -> Finding:
    names = [name for name in type(settings).model_fields if name in settings.model_fields_set]
    told = ", ".join(f"{name} {shown(settings, name)}" for name in names)
    return ok("settings", f"set: {told}; all others by default" if told else "all by default")


def _unknown(environment: Mapping[str, str]) -> Iterator[Finding]:
    known = {PREFIX + name.upper() for name in Settings.model_fields.keys() - {"telemetry"}}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known | OTHER_VARIABLES:
            near = get_close_matches(name, known, n=1)
            meant = f"{near[0]} may be meant" if near else "take it out of the environment"
            yield warning("settings", f"{name} is no setting, so it does nothing", meant)
    for field, name in PLATFORM_SPELLINGS.items():
        ours = PREFIX + field.upper()
        if environment.get(name) and environment.get(ours) and environment[name] != environment[ours]:
            yield warning("settings", f"{name} and {ours} differ; {ours} counts", "set one of them, or both alike")


def _dangerous(settings: Settings) -> Iterator[Finding]:
    if settings.rate_limit == "off":
        yield warning(
            "rate limit",
            "off: one client may take all there is to take, and guess passwords without end",
            "leave BOOKING_RATE_LIMIT on where others than you can call",
        )
    if not ANYBODY.isdisjoint(settings.trusted_proxies):
        yield warning(
            "trusted proxies",
            "everybody's X-Forwarded-For is believed, so that nobody's address is limited",
            "name the addresses of your own proxies in BOOKING_TRUSTED_PROXIES",
        )
    if "*" in settings.cors_origins:
        yield warning("origins", "every web page may call", "name your own pages in BOOKING_CORS_ORIGINS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if settings.workers > cores:
        yield warning(
            "workers",
            f"{settings.workers} web workers on {cores} processors: they take turns with Redis and the persister",
            f"set BOOKING_WORKERS to {max(1, cores - 1)} or less",
        )
