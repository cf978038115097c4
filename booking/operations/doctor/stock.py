"""Checks Redis: the server that runs or would be started, and the durability of acknowledged changes."""

import re
import subprocess
from collections.abc import Sequence

from booking.domain.diagnosis import Finding, fault, ok, warning
from booking.inventory.append_only_file import examine
from booking.inventory.durability import LevelUnavailable, choose
from booking.inventory.embedded import EmbeddedServerFailed, find_program
from booking.inventory.errors import CommandRefused, InventoryUnavailable
from booking.inventory.inspection import Server, inspect_all
from booking.inventory.memory import memory_bytes_max
from booking.inventory.server_checks import check_each, check_placement, check_server, check_version
from booking.inventory.shard_clients import opened_topology
from booking.settings import Settings, SettingsError

PROGRAM_SECONDS_MAX = 5.0

MEANINGS = {
    "redis": "in Redis's memory",
    "disk": "on Redis's disk",
    "replica": "on a replica, too",
    "database": "in the database",
}


async def check_redis(settings: Settings, *, serving: bool) -> tuple[list[Finding], list[Server]]:
    """The findings, and the servers that answer; `serving`: whether the service runs on the data folder."""
    if settings.embedded_redis and not serving:
        return [_program(settings), _append_only_file(settings)], []
    inspected = await inspect_all(settings.redis_address, settings.shards)
    servers = {where: one for where, one in inspected.servers.items() if isinstance(one, Server)}
    findings = [
        _unusable(settings, where if len(inspected.servers) > 1 else "", inspected.placement.get(where, ()), error)
        for where, error in inspected.servers.items()
        if isinstance(error, InventoryUnavailable)
    ]
    if not servers:
        return findings, []
    if not findings:
        where = "the embedded server" if settings.embedded_redis else "the server that BOOKING_REDIS_URL names"
        findings = [ok("Redis", f"{where} answers" if len(servers) == 1 else f"all {len(servers)} primaries answer")]
    findings += check_placement(inspected.form, inspected.placement, settings.shards)
    findings += check_each({where: check_server(one, inspected.form) for where, one in servers.items()})
    return [*findings, await _durability(settings)], list(servers.values())


def _unusable(settings: Settings, where: str, shards: Sequence[int], error: InventoryUnavailable) -> Finding:
    """Why a server cannot be used; `where`: its location if there are others."""
    place = f"{where}: " if where else ""
    if isinstance(error, CommandRefused):
        found, _, advice = str(error).rpartition(": ")
        return fault("Redis", f"{place}{found}", advice)
    if where and shards:
        found = f"{place}{error}: the shards {', '.join(map(str, shards))} sell nothing"
        return fault("Redis", found, "start it, or have one of its replicas promoted")
    advice = (
        f"read {settings.data_dir / 'redis.log'}"
        if settings.embedded_redis
        else "start it, or correct BOOKING_REDIS_URL (host, port, user, password, redis:// or rediss://)"
    )
    return fault("Redis", f"{place}{error}", advice)


def _program(settings: Settings) -> Finding:
    """Checks the program of the embedded server, which runs only while the service does."""
    try:
        program = find_program(settings.redis_server)
        output = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=PROGRAM_SECONDS_MAX, check=True
        ).stdout
    except (SettingsError, EmbeddedServerFailed) as error:
        return fault("Redis", str(error).removeprefix("BOOKING_REDIS_SERVER: "), "correct BOOKING_REDIS_SERVER")
    except (OSError, subprocess.SubprocessError) as error:
        advice = "set BOOKING_REDIS_SERVER to a server that runs on this machine"
        return fault("Redis", f"{program} cannot be run ({type(error).__name__})", advice)
    version = re.search(r"v=(\S+)", output)
    found = check_version("Valkey" if "alkey" in output else "Redis", version[1] if version else "0")
    memory = f"{memory_bytes_max(settings) / 1e6:,.0f} MB at most (BOOKING_REDIS_MEMORY_MB)"
    return Finding("Redis", found.verdict, f"embedded, started with the service: {found.found}, {memory}", found.advice)


def _append_only_file(settings: Settings) -> Finding:
    """Checks the embedded server's files, while no server writes them."""
    name, folder = "append-only file", settings.data_dir / "redis"
    try:
        damage = examine(folder, thoroughly=True)
    except OSError as error:
        return fault(name, f"{error.filename or folder}: {error.strerror}", "let this user read it")
    if damage is None:
        return ok(name, "whole" if folder.exists() else "none yet; the first start creates it")
    if not damage.command:
        return warning(name, damage.found, f"the next start repairs it. {damage.loss}".strip())
    return fault(name, damage.found, f"{damage.command}. {damage.loss}")


async def _durability(settings: Settings) -> Finding:
    name = "acknowledged is"
    try:
        async with opened_topology(settings.redis_address, settings.shards) as topology:
            level = (await choose(topology, settings.ack, settings.ack_replicas)).level
    except LevelUnavailable as error:
        return fault(name, f"BOOKING_ACK {settings.ack}: {error}", "configure Redis for it, or unset BOOKING_ACK")
    except InventoryUnavailable as error:
        return fault(name, str(error), "try again")
    chosen = "BOOKING_ACK" if settings.ack is not None else "the strongest that this Redis provides without waiting"
    return ok(name, f"{MEANINGS[level]} ({level}; {chosen})")
