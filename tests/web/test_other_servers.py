"""The application is plain ASGI: it keeps its promises on servers that are not this service's own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from hypercorn.asyncio import serve
from hypercorn.config import Config

from booking.auth.plain_tokens import ORGANIZER
from booking.auth.tokens import sign_token
from booking.ledger import migrate
from booking.settings import Settings
from booking.web.app import create_app
from tests.fixtures.stock import SHARDS

SECRET = "the secret of these tests, of more than 32 bytes"
Serve = Callable[[Any, socket.socket, asyncio.Event], Any]


async def stock_uvicorn(app: Any, listener: socket.socket, stop: asyncio.Event) -> None:
    config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await stop.wait()
    server.should_exit = True
    await serving


async def hypercorn(app: Any, listener: socket.socket, stop: asyncio.Event) -> None:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 1
    config.errorlog = None
    await serve(app, config, shutdown_trigger=stop.wait)


@asynccontextmanager
async def running(kind: Serve, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    await migrate(settings.database_address)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop = asyncio.Event()
    serving = asyncio.create_task(kind(create_app(settings), listener, stop))
    try:
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            async with asyncio.timeout(30):
                while True:
                    with suppress(httpx.TransportError):
                        if (await client.get("/healthz")).status_code == 200:
                            break
                    await asyncio.sleep(0.02)
            yield client
    finally:
        stop.set()
        await serving


@pytest.mark.parametrize("kind", [stock_uvicorn, hypercorn])
async def test_a_sale_runs_on_any_asgi_server(
    kind: Serve, tmp_path: Path, clean_valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("booking.logs.configure", lambda *_: None)  # pytest's own output is not the service's
    settings = Settings.read(
        {
            "BOOKING_REDIS_URL": clean_valkey, "BOOKING_DATA_DIR": str(tmp_path), "BOOKING_SHARDS": str(SHARDS),
            "BOOKING_JWT_SECRET": SECRET,
        }
    )  # fmt: skip

    def headers(user: str, role: str | None = None, seconds: int = 600) -> dict[str, str]:
        return {"Authorization": f"Bearer {sign_token(SECRET.encode(), user, role, seconds)}"}

    async with running(kind, settings) as client:
        body: dict[str, object] = {"event_name": "Night", "available_tickets": 1}
        made = await client.post("/initialize", json=body, headers=headers("boss", ORGANIZER))
        event_id = made.json()["event_id"]
        order = {"event_id": event_id}
        statuses = [(await client.post("/book", json=order, headers=headers(user))).status_code for user in "ab"]
        assert (made.status_code, statuses) == (201, [201, 202])
        refused = await client.post("/book", json=order, headers=headers("a") | {"X-Request-ID": "mine"})
        assert (refused.status_code, refused.json()["code"], refused.headers["x-request-id"]) == (
            409, "already_booked", "mine",
        )  # fmt: skip
        too_large = await client.post("/book", content=b" " * 20_000 + orjson.dumps(order), headers=headers("c"))
        assert (too_large.status_code, too_large.json()["code"]) == (413, "body_too_large")
        wrong = await client.put("/book", headers=headers("a"))
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        assert (await client.get(f"/status/{event_id}")).json()["data"]["waiting_list_count"] == 1
        async with client.stream("GET", f"/events/{event_id}/live", headers=headers("b")) as live:
            lines = live.aiter_lines()
            heard = [await anext(lines) for _ in range(8)]
            assert {"event: availability", "event: booking"} <= set(heard)
            await client.post("/cancel", json=order, headers=headers("a"))
            async for line in lines:  # the one who waits hears of the promotion
                if line.startswith("data: ") and '"status":"confirmed"' in line:
                    break
        async with client.stream("GET", f"/events/{event_id}/live", headers=headers("b", seconds=3)) as live:
            assert live.status_code == 200
            heard = [line async for line in live.aiter_lines()]
            assert "event: booking" in heard, "it ends with its token, as a whole response"
