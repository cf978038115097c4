"""Whether a Redis is one that tickets may be sold from."""

import re

from booking.domain.diagnosis import Finding, fault, ok, warning
from booking.inventory.inspection import Kind, Server

OLDEST: dict[Kind, tuple[int, int]] = {"Redis": (7, 0), "Valkey": (7, 2)}
"""The oldest release of each that the scripts run on."""

SANDBOX_FIXED: dict[Kind, dict[tuple[int, int], int]] = {
    "Redis": {(7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "Valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}
"""The patch of each release in which whoever may run a script can no longer leave Lua's sandbox (CVE-2025-49844 and
its companions, October 2025). Newer releases than these never had the holes; others were never mended."""

KEEPS_ALL = "noeviction"

MEMORY_SHARE_MAX = 0.8
"""Of `maxmemory`: beyond this there is little time left to do something about it."""


def check_server(server: Server) -> list[Finding]:
    """Everything that can be said of a server by itself; the start of the service heeds the first three."""
    return [*start_checks(server), _memory(server), _topology(server), _clients(server)]


def start_checks(server: Server) -> list[Finding]:
    """What the service looks at before it sells: a fault keeps it from starting, and a warning is said once."""
    return [check_version(server.kind, server.version), _eviction(server), _persistence(server)]


def check_version(kind: Kind, version: str) -> Finding:
    """Whether the scripts run on it, and cannot be broken out of."""
    name, told = "Redis version", f"{kind} {version}"
    major, minor, patch = _release(version)
    oldest = OLDEST[kind]
    if (major, minor) < oldest:
        return fault(name, told, f"the scripts need {kind} {oldest[0]}.{oldest[1]} or newer: upgrade it")
    fixed = SANDBOX_FIXED[kind]
    if (major, minor) > max(fixed) or patch >= fixed.get((major, minor), patch + 1):
        return ok(name, told)
    mended = ", ".join(f"{release[0]}.{release[1]}.{number}" for release, number in fixed.items())
    return warning(
        name,
        f"{told}: whoever may run a script can leave Lua's sandbox (CVE-2025-49844)",
        f"upgrade (fixed in {mended}), unless your distribution has mended this one",
    )


def _release(version: str) -> tuple[int, int, int]:
    """`8.0.4-rc1` in numbers; what is missing counts as 0."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    major, minor, patch = numbers + [0] * (3 - len(numbers))
    return major, minor, patch


def _eviction(server: Server) -> Finding:
    name, told = "Redis eviction", f"maxmemory-policy {server.policy}"
    if server.policy == KEEPS_ALL:
        return ok(name, told)
    return fault(
        name, f"{told}: a full Redis would forget bookings", f"set maxmemory-policy {KEEPS_ALL}, which refuses instead"
    )


def _memory(server: Server) -> Finding:
    name, used = "Redis memory", f"{_megabytes(server.memory_bytes)} used"
    if not server.memory_bytes_max:
        return ok(name, f"{used}, no limit of its own (maxmemory 0)")
    told = f"{used} of {_megabytes(server.memory_bytes_max)} (maxmemory)"
    if server.memory_bytes > MEMORY_SHARE_MAX * server.memory_bytes_max:
        return warning(name, told, "raise maxmemory: a booking takes some 90 bytes, and a full Redis refuses bookings")
    return ok(name, told)


def _persistence(server: Server) -> Finding:
    name = "Redis persistence"
    if not server.append_only:
        return warning(
            name,
            "no append-only file (appendonly no): a restart loses whatever SQL does not have yet",
            "set appendonly yes and appendfsync always",
        )
    if server.synced is None:
        return ok(name, "append-only file; how often it is synced the server does not tell")
    if server.synced == "always":
        return ok(name, "append-only file, synced before each answer (appendfsync always)")
    told = f"append-only file, synced now and then (appendfsync {server.synced})"
    return warning(
        name,
        f"{told}: a power cut loses the last acknowledgements",
        "set appendfsync always, or BOOKING_ACK=disk, which waits for the sync (Redis 7.2 or newer)",
    )


def _topology(server: Server) -> Finding:
    name = "Redis topology"
    replicas = f"{server.replicas} replica{'' if server.replicas == 1 else 's'}"
    if server.role != "master":
        return fault(name, "a replica, which takes no bookings", "name its primary in BOOKING_REDIS_URL")
    if server.clustered:
        return warning(
            name,
            f"a node of a cluster, {replicas}",
            "the service speaks to one server: every slot has to be on the one that BOOKING_REDIS_URL names",
        )
    return ok(name, f"a primary by itself, {replicas}")


def _clients(server: Server) -> Finding:
    name, told = "Redis clients", f"{server.clients} connected"
    if server.clients_max is None:
        return ok(name, told)
    told += f", {server.clients_max} at most"
    if server.clients > 0.8 * server.clients_max:
        return warning(name, told, "raise maxclients, or find out who holds so many connections")
    return ok(name, told)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
