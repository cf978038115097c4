"""What the service is held against: an empty Starlette endpoint, and the service as one would first write it.

    python -m scripts.benchmark.rivals empty|naive FD

serves one of them on the listening socket FD, as Starlette's and uvicorn's documentation has them. Neither logs, limits
rates or persists anything in SQL.
"""

import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import jwt
import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

REDIS_URL = "BENCH_REDIS_URL"
SECRET = "BENCH_SECRET"  # noqa: S105 - a variable's name

EVENT = {
    "error": False,
    "message": "Fetched event",
    "data": {
        "id": 1, "name": "bench", "capacity": 10_000_000, "available_tickets": 10_000_000, "bookings_count": 0,
        "held_count": 0, "tickets_sold": 0, "tickets_held": 0, "waiting_list_count": 0, "max_per_user": 1,
        "hold_seconds": 0, "waitlist_limit": None, "opens_at": None, "closes_at": None, "paused": False,
        "state": "open", "seq": 1, "created_at": "2026-11-22T21:30:00.125Z",
    },
}  # fmt: skip
"""An answer of the shape and size of the service's own to /status."""


def booked(event_id: int, user_id: str, number: int) -> JSONResponse:
    """An answer of the shape and size of the service's own 201."""
    booking = {
        "id": f"{event_id}-{number}",
        "event_id": event_id,
        "user_id": user_id,
        "quantity": 1,
        "status": "confirmed",
        "source": "sale",
        "created_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return JSONResponse({"error": False, "message": "Ticket booked successfully", "data": booking}, 201)


def empty() -> Starlette:
    """Parses the body and answers: what Starlette itself can do, and nothing else."""

    async def book(request: Request) -> JSONResponse:
        body = await request.json()
        return booked(body["event_id"], "buyer-000000000", 1)

    async def status(_: Request) -> JSONResponse:
        return JSONResponse(EVENT)

    return Starlette(routes=[Route("/book", book, methods=["POST"]), Route("/status", status)])


def naive(redis_url: str, secret: str) -> Starlette:
    """PyJWT's decode, then one EVALSHA of its own for each request, over redis-py's own pool."""
    redis = Redis.from_url(redis_url)
    script = ""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal script
        script = await redis.script_load(Path(__file__).with_name("naive.lua").read_text(encoding="ascii"))
        yield
        await redis.aclose()

    async def book(request: Request) -> JSONResponse:
        token = request.headers["authorization"].removeprefix("Bearer ")
        try:
            user_id = jwt.decode(token, secret, algorithms=["HS256"], options={"require": ["exp", "sub"]})["sub"]
        except jwt.InvalidTokenError:
            return JSONResponse({"error": True, "message": "Unauthenticated"}, 401)
        body = await request.json()
        event_id = body["event_id"]
        keys = (f"event:{event_id}", f"bookings:{event_id}", "changes")
        outcome, number = await redis.evalsha(script, len(keys), *keys, user_id, str(time.time_ns() // 1_000_000))
        if outcome != b"booked":
            return JSONResponse({"error": True, "message": outcome.decode()}, 409)
        return booked(event_id, user_id, number)

    return Starlette(routes=[Route("/book", book, methods=["POST"])], lifespan=lifespan)


def main(name: str, descriptor: int) -> None:
    """Serves until it is told to end."""
    app = empty() if name == "empty" else naive(os.environ[REDIS_URL], os.environ[SECRET])
    config = uvicorn.Config(app, loop="uvloop", http="httptools", ws="none", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
