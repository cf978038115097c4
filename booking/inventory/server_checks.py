"""Checks whether a Redis server is fit to sell tickets from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from booking.domain.diagnosis import Finding, Verdict, fault, ok, warning
from booking.inventory.inspection import Kind, Server
from booking.inventory.topology import Form

OLDEST: dict[Kind, tuple[int, int]] = {"Redis": (7, 0), "Valkey": (7, 2)}
"""The oldest release of each server that the scripts run on."""

SANDBOX_FIXED: dict[Kind, dict[tuple[int, int], int]] = {
    "Redis": {(7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "Valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}
"""The patch of each release that fixed the escapes from Lua's sandbox (CVE-2025-49844 and related ones, October 2025).
Newer releases never had these vulnerabilities; in all other releases they were not fixed."""

NO_EVICTION = "noeviction"

MEMORY_SHARE_MAX = 0.8
"""The share of `maxmemory` above which an operator should act before the memory is full."""


def check_server(server: Server, form: Form = "server") -> list[Finding]:
    """All findings about a server. `start_checks` gives the first ones."""
    return [*start_checks(server, form), _memory(server), _clients(server)]


def start_checks(server: Server, form: Form = "server") -> list[Finding]:
    """The checks at the start of the service: a fault prevents the start, and a warning is printed once.

    `form`: as what BOOKING_REDIS_URL names the server. Of a server that is the wrong one nothing else is said.
    """
    topology = _topology(server, form)
    if topology.verdict is Verdict.FAULT:
        return [topology]
    version = check_version(server.kind, server.version)
    return [version, _eviction(server), _persistence(server), _rights(server), topology]


def check_each(servers: Mapping[str, list[Finding]]) -> list[Finding]:
    """The findings of several servers by location; those that are alike become one, and each names its servers."""
    alike: dict[Finding, list[str]] = {}
    for location, findings in servers.items():
        for finding in findings:
            alike.setdefault(finding, []).append(location)
    if len(servers) == 1:
        return list(alike)
    return [replace(one, found=f"{', '.join(locations)}: {one.found}") for one, locations in alike.items()]


def check_placement(form: Form, placement: Mapping[str, Sequence[int]], shards: int) -> list[Finding]:
    """Which primary has which of `shards` shards; nothing if one fixed server has all of them."""
    name = "Redis shards"
    if form == "server":
        return []
    if form == "sentinel":
        return [ok(name, f"all at {location}, the primary that the Sentinels name") for location in placement]
    found = "; ".join(f"{location} has {', '.join(map(str, own))}" for location, own in placement.items())
    known = {shard for own in placement.values() for shard in own}
    if missing := [shard for shard in range(shards) if shard not in known]:
        numbers = ", ".join(map(str, missing))
        return [fault(name, f"no primary has {numbers}; {found}", "give the cluster's missing slots to a node")]
    return [ok(name, f"a cluster; {found}")]


def check_version(kind: Kind, version: str) -> Finding:
    """Whether the scripts run on this version, and whether its Lua sandbox is safe."""
    name, found = "Redis version", f"{kind} {version}"
    major, minor, patch = _release(version)
    oldest = OLDEST[kind]
    if (major, minor) < oldest:
        return fault(name, found, f"the scripts need {kind} {oldest[0]}.{oldest[1]} or newer: upgrade it")
    fixed = SANDBOX_FIXED[kind]
    if (major, minor) > max(fixed) or patch >= fixed.get((major, minor), patch + 1):
        return ok(name, found)
    fixes = ", ".join(f"{release[0]}.{release[1]}.{number}" for release, number in fixed.items())
    return warning(
        name,
        f"{found}: a client that may run scripts can escape Lua's sandbox (CVE-2025-49844)",
        f"upgrade (fixed in {fixes}), unless your distribution has fixed this version",
    )


def _release(version: str) -> tuple[int, int, int]:
    """The numbers of a version such as `8.0.4-rc1`; a missing one is 0."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    major, minor, patch = numbers + [0] * (3 - len(numbers))
    return major, minor, patch


def _eviction(server: Server) -> Finding:
    name, found = "Redis eviction", f"maxmemory-policy {server.policy}"
    if server.policy == NO_EVICTION:
        return ok(name, found)
    return fault(
        name,
        f"{found}: a full Redis would forget bookings",
        f"set maxmemory-policy {NO_EVICTION}, which refuses instead",
    )


def _memory(server: Server) -> Finding:
    name, used = "Redis memory", f"{_megabytes(server.memory_bytes)} used"
    if not server.memory_bytes_max:
        return ok(name, f"{used}, no limit (maxmemory 0)")
    found = f"{used} of {_megabytes(server.memory_bytes_max)} (maxmemory)"
    if server.memory_bytes > MEMORY_SHARE_MAX * server.memory_bytes_max:
        advice = (
            "raise maxmemory (embedded: BOOKING_REDIS_MEMORY_MB): a booking takes some 90 bytes; a full Redis refuses"
        )
        return warning(name, found, f"{advice} bookings, and takes cancellations")
    return ok(name, found)


def _persistence(server: Server) -> Finding:
    name = "Redis persistence"
    if not server.append_only:
        return warning(
            name,
            "no append-only file (appendonly no): a restart loses what SQL does not have yet",
            "set appendonly yes and appendfsync always",
        )
    if server.synced is None:
        return ok(name, "append-only file; the server does not tell how often it is synced")
    if server.synced == "always":
        return ok(name, "append-only file, synced before each answer (appendfsync always)")
    found = f"append-only file, not synced before each answer (appendfsync {server.synced})"
    return warning(
        name,
        f"{found}: a power cut loses the last acknowledged changes",
        "set appendfsync always, or BOOKING_ACK=disk, which waits for the sync (Redis 7.2 or newer)",
    )


def _topology(server: Server, form: Form) -> Finding:
    name = "Redis topology"
    replicas = f"{server.replicas} replica{'' if server.replicas == 1 else 's'}"
    primary = f"{server.primary}, " if server.primary else ""
    if server.role == "sentinel":
        advice = f"name the primary that it watches, {primary}instead"
        if server.watches:
            advice += f", or follow its failovers with redis+sentinel://HOSTS/{server.watches}"
        return fault(name, "a Sentinel, which holds no data", advice)
    if server.role != "master":
        return fault(name, "a replica, which accepts no bookings", f"name its primary, {primary}instead")
    if form == "cluster":
        return ok(name, f"a primary of a cluster, {replicas}")
    if server.clustered:
        advice = "begin BOOKING_REDIS_URL with redis+cluster:// (with rediss+cluster:// for TLS)"
        return fault(name, "a node of a cluster, which has only some of the keys", advice)
    return ok(name, f"a primary that has all keys, {replicas}")


def _rights(server: Server) -> Finding:
    name = "Redis rights"
    if not server.refused:
        return ok(name, "its user may run every command that the service needs")
    grants = " ".join(f"+{command}" for command in server.refused)
    return fault(
        name,
        f"its ACL refuses {', '.join(command.upper() for command in server.refused)} on booking:*",
        f"grant them: ACL SETUSER <user> ~booking:* {grants}",
    )


def _clients(server: Server) -> Finding:
    name, found = "Redis clients", f"{server.clients} connected"
    if server.clients_max is None:
        return ok(name, found)
    found += f", {server.clients_max} at most"
    if server.clients > 0.8 * server.clients_max:
        return warning(name, found, "raise maxclients, or find out which clients have so many connections")
    return ok(name, found)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
