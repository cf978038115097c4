"""Checks Redis: the server that runs or would be started, and the durability of acknowledged changes."""

import re
import subprocess

from booking.domain.diagnosis import Finding, fault, ok, warning
from booking.inventory.append_only_file import examine
from booking.inventory.durability import LevelUnavailable, choose
from booking.inventory.embedded import EmbeddedServerFailed, find_program
from booking.inventory.errors import CommandRefused, InventoryUnavailable
from booking.inventory.inspection import Server, inspect
from booking.inventory.memory import memory_bytes_max
from booking.inventory.server_checks import check_server, check_version
from booking.settings import Settings, SettingsError

PROGRAM_SECONDS_MAX = 5.0

MEANINGS = {
    "redis": "in Redis's memory",
    "disk": "on Redis's disk",
    "replica": "on a replica, too",
    "database": "in the database",
}


async def check_redis(settings: Settings, *, serving: bool) -> tuple[list[Finding], Server | None]:
    """The findings, and the server if it answers; `serving`: whether the service runs on the data folder."""
    if settings.embedded_redis and not serving:
        return [_program(settings), _append_only_file(settings)], None
    try:
        server = await inspect(settings.redis_address)
    except CommandRefused as error:
        found, _, advice = str(error).rpartition(": ")
        return [fault("Redis", found, advice)], None
    except InventoryUnavailable as error:
        advice = (
            f"read {settings.data_dir / 'redis.log'}"
            if settings.embedded_redis
            else "start it, or correct BOOKING_REDIS_URL (host, port, user, password, redis:// or rediss://)"
        )
        return [fault("Redis", str(error), advice)], None
    where = "the embedded server" if settings.embedded_redis else "the server that BOOKING_REDIS_URL names"
    return [ok("Redis", f"{where} answers"), *check_server(server), await _durability(settings)], server


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
        level = (await choose(settings.redis_address, settings.ack, settings.ack_replicas)).level
    except LevelUnavailable as error:
        return fault(name, f"BOOKING_ACK {settings.ack}: {error}", "configure Redis for it, or unset BOOKING_ACK")
    except InventoryUnavailable as error:
        return fault(name, str(error), "try again")
    chosen = "BOOKING_ACK" if settings.ack is not None else "the strongest that this Redis provides without waiting"
    return ok(name, f"{MEANINGS[level]} ({level}; {chosen})")
