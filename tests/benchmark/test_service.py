"""The bench's view of a real `booking serve`, from outside."""

import secrets
import time
from pathlib import Path

import httpx

from scripts.benchmark.figures import Load
from scripts.benchmark.sales import Sale
from scripts.benchmark.service import SOLD_OUT_TICKETS, SoldOut, serve
from scripts.benchmark.tokens import Buyers


def a_load(requests: int, refused: int = 0) -> Load:
    return Load(requests, 1.0, refused, broken=0, p50_ms=1, p99_ms=2, max_ms=3)


def book(sale: Sale, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return httpx.post(sale.url, content=sale.body, headers=headers).status_code


def test_a_round_is_held_against_the_services_own_books(tmp_path: Path) -> None:
    secret = secrets.token_urlsafe(48).encode()
    tokens = Buyers(tmp_path, secret, time.time()).take(10)
    with serve(tmp_path / "data", secret, workers=2) as service:
        sale = service.open_sale(2)
        assert [book(sale, next(tokens)) for _ in range(3)] == [201, 201, 202]
        # Booked and waiting together are what was answered; the persister has carried them before that is said.
        assert service.faults(sale, a_load(3)) == []
        assert service.lag_entries() == 0
        assert service.faults(sale, a_load(4)) == ["4 bookings were answered, 3 are there"]
        assert service.faults(sale, a_load(3, refused=1)) == ["1 requests were refused"]

        refusing = service.open_sale(1, waiting_list=False)
        assert service.faults(refusing, a_load(5, refused=5)) == ["1 tickets were left, though buyers were refused"]
        assert [book(refusing, next(tokens)) for _ in range(2)] == [201, 409]
        assert service.faults(refusing, a_load(5, refused=4)) == []

        sold_out = SoldOut(service, waiting_list=False).open_sale()
        assert (service.event(sold_out.event_id)["capacity"], sold_out.refuses) == (SOLD_OUT_TICKETS, True)

        pids = service.parts()
        assert {role: len(of) for role, of in pids.items()} == {"server": 2, "redis": 1, "persister": 1}
        assert service.start_s > 0
    assert not any(Path(f"/proc/{pid}").exists() for of in pids.values() for pid in of)


def test_a_service_without_a_persister_keeps_its_changes_for_one_that_comes_later(tmp_path: Path) -> None:
    secret = secrets.token_urlsafe(48).encode()
    tokens = Buyers(tmp_path, secret, time.time()).take(5)
    with serve(tmp_path / "data", secret, persister=False) as service:
        sale = service.open_sale()
        assert [book(sale, token) for token in tokens] == [201] * 5
        assert service.lag_entries() == 6  # the event, and five bookings
        assert service.parts()["persister"] == []
