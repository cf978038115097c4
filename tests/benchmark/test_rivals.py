"""What the service is held against, really served."""

from pathlib import Path

import httpx
import pytest
from redis import Redis

from scripts.benchmark import contenders
from scripts.benchmark.sales import Sale
from scripts.benchmark.tokens import sign

SECRET = b"a secret of thirty-two bytes, or more"
EXPIRES_AT_S = 4_000_000_000

BOOKING = {
    "id": str,
    "event_id": int,
    "user_id": str,
    "quantity": int,
    "status": str,
    "source": str,
    "created_at": str,
}
"""The fields of a confirmed booking in the contract."""


def book(sale: Sale, user: str, secret: bytes = SECRET) -> httpx.Response:
    headers = {"Authorization": f"Bearer {sign(secret, user, EXPIRES_AT_S)}", "Content-Type": "application/json"}
    return httpx.post(sale.url, content=sale.body, headers=headers)


def has_the_contracts_shape(answer: httpx.Response) -> bool:
    told = answer.json()
    shape = {name: type(value) for name, value in told["data"].items()}
    return answer.status_code == 201 and told.keys() == {"error", "message", "data"} and shape == BOOKING


@pytest.mark.parametrize("name", ["empty", "tuned"])
def test_the_empty_endpoint_answers_with_a_booking_of_the_services_shape(tmp_path: Path, name: str) -> None:
    with contenders.empty(tmp_path, name) as empty:
        answer = book(empty.open_sale(), "buyer-1")
        assert has_the_contracts_shape(answer)
        assert [len(pids) for pids in empty.parts().values()] == [1]


def test_the_naive_service_checks_tokens_and_books_each_user_once(tmp_path: Path) -> None:
    with contenders.naive(tmp_path, SECRET) as naive:
        sale = naive.open_sale()
        first, again, other = book(sale, "buyer-1"), book(sale, "buyer-1"), book(sale, "buyer-2")
        forged = book(sale, "buyer-3", secret=b"another secret of thirty-two bytes")
        assert has_the_contracts_shape(first)
        assert has_the_contracts_shape(other)
        assert (first.json()["data"]["user_id"], other.json()["data"]["id"]) == ("buyer-1", f"{sale.event_id}-2")
        assert (again.status_code, forged.status_code) == (409, 401)
        assert set(naive.parts()) == {"server", "redis"}


def test_the_naive_services_redis_puts_every_change_on_disk_before_it_answers(tmp_path: Path) -> None:
    with (
        contenders.embedded_redis(tmp_path / "data") as (settings, _),
        Redis.from_url(settings.redis_address) as redis,
    ):
        configured = redis.config_get("append*")
        assert (configured["appendonly"], configured["appendfsync"]) == ("yes", "always")


@pytest.mark.parametrize("name", ["empty", "naive"])
def test_a_rival_leaves_no_process_behind(tmp_path: Path, name: str) -> None:
    with contenders.empty(tmp_path) if name == "empty" else contenders.naive(tmp_path, SECRET) as rival:
        pids = [pid for pids in rival.parts().values() for pid in pids]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
