"""Checks this machine: its clock compared with other clocks, and its limit of open files."""

import resource

from booking.domain.diagnosis import Finding, ok, warning
from booking.settings import Settings

SKEW_SECONDS_MAX = 1.0
"""Sales open and close by Redis's clock, and tokens expire by this machine's. Users notice a second."""

CONNECTIONS_BESIDE = 1_000
"""Open files of a worker in addition to its live streams: buyers' connections, and a few of its own."""


def check_open_files(settings: Settings) -> Finding:
    """Whether a worker may open as many connections as it accepts."""
    name, (soft, _) = "open files", resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.live_limit + CONNECTIONS_BESIDE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ok(name, "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,} a process")
    return warning(
        name,
        f"{soft:,} a process, and a worker may need {wanted:,} (BOOKING_LIVE_LIMIT and {CONNECTIONS_BESIDE:,})",
        "run ulimit -n 65536 before the start, or set LimitNOFILE=65536 in systemd's unit",
    )


def check_clock(skews: dict[str, float | None]) -> Finding:
    """Checks how far other clocks are ahead of this machine's, by their owner; None: there is no other clock."""
    name = "clock"
    found = {whose: skew for whose, skew in skews.items() if skew is not None}
    if not found:
        return ok(name, "nothing to compare it with")
    shown = ", ".join(f"{whose}'s {skew:+.3f} s" for whose, skew in found.items())
    if max(map(abs, found.values())) > SKEW_SECONDS_MAX:
        return warning(name, f"{shown} from this machine's", "set the clocks by NTP (timedatectl set-ntp true)")
    return ok(name, f"{shown} from this machine's")
