"""This machine: its clock beside the others', and how many connections it lets a process have."""

import resource

from booking.domain.diagnosis import Finding, ok, warning
from booking.settings import Settings

SKEW_SECONDS_MAX = 1.0
"""Sales open and close by Redis's clock, and tokens end by this one; people notice a second."""

CONNECTIONS_BESIDE = 1_000
"""Open files of a worker beside its live streams: buyers' connections, and a few of its own."""


def check_open_files(settings: Settings) -> Finding:
    """Whether a worker may have as many connections as it would take."""
    name, (soft, _) = "open files", resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.live_limit + CONNECTIONS_BESIDE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ok(name, "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,} a process")
    return warning(
        name,
        f"{soft:,} a process, and a worker takes up to {wanted:,} (BOOKING_LIVE_LIMIT and {CONNECTIONS_BESIDE:,})",
        "ulimit -n 65536 before the start, or LimitNOFILE=65536 in systemd's unit",
    )


def check_clock(skews: dict[str, float | None]) -> Finding:
    """How far other clocks are ahead of this machine's, by whose they are; None: it has this machine's."""
    name = "clock"
    found = {whose: skew for whose, skew in skews.items() if skew is not None}
    if not found:
        return ok(name, "nothing to compare it with")
    shown = ", ".join(f"{whose}'s {skew:+.3f} s" for whose, skew in found.items())
    if max(map(abs, found.values())) > SKEW_SECONDS_MAX:
        return warning(name, f"{shown} beside this machine's", "set the clocks by NTP (timedatectl set-ntp true)")
    return ok(name, f"{shown} beside this machine's")
