"""A lost reply of Redis, seen by a client: the outcome is unknown, the change is made once, and a retry gets it."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.fixtures.proxy import LossyProxy, lossy_proxy
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.valkey import running_valkey
from tests.fixtures.waiting import eventually_async


async def post(http: httpx.AsyncClient, service: RunningService, path: str, body: Any, **headers: str) -> Any:
    role = "organizer" if path == "/initialize" else None
    authorization = {"Authorization": f"Bearer {service.token('ann', role)}"}
    return await http.post(path, json=body, headers=authorization | headers)


async def test_a_repeated_call_with_the_same_key_gets_the_outcome(tmp_path: Path) -> None:
    """With a connection that is closed, and with one that stays open but silent."""
    with running_valkey() as server:
        async with lossy_proxy(server.address) as proxy:
            settings = {"BOOKING_REDIS_URL": proxy.address, "BOOKING_RATE_LIMIT": "off"}
            service = await asyncio.to_thread(lambda: running_service(tmp_path / "data", settings))
            running = await asyncio.to_thread(service.__enter__)
            try:
                async with httpx.AsyncClient(base_url=running.base_url, timeout=30, trust_env=False) as http:
                    for hang in (False, True):
                        await lose_a_reply(http, running, proxy, hang=hang)
                    metrics = (await http.get("/metrics")).text
                assert "\nbooking_outcomes_unknown_total 2\n" in metrics
            finally:
                await asyncio.to_thread(service.__exit__, None, None, None)


async def is_told(http: httpx.AsyncClient, event_id: int) -> bool:
    return (await http.get(f"/status/{event_id}")).status_code == httpx.codes.OK


async def lose_a_reply(http: httpx.AsyncClient, service: RunningService, proxy: LossyProxy, *, hang: bool) -> None:
    made = await post(http, service, "/initialize", {"event_name": "E", "available_tickets": 5})
    event_id = made.json()["event_id"]
    order = {"event_id": event_id}
    for _ in range(100):
        proxy.lose_after(0, hang=hang)
        lost = await post(http, service, "/book", order, **{"Idempotency-Key": "once"})
        proxy.heal()
        if lost.json()["code"] != "inventory_unavailable":
            break
        # A call of the worker's own lost its reply first, and so the booking was never sent. The next loss has to wait
        # for a new connection, whose first replies are those of its verification.
        await eventually_async(partial(is_told, http, event_id), "the worker has a connection again")
    assert (lost.status_code, lost.json()["code"]) == (503, "outcome_unknown")
    assert int(lost.headers["retry-after"]) >= 1
    again = await post(http, service, "/book", order, **{"Idempotency-Key": "once"})
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    event = (await http.get(f"/status/{event_id}")).json()["data"]
    assert (event["tickets_sold"], event["seq"]) == (1, 2), "not made exactly once"
