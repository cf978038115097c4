"""Listeners, by themselves and at a real service."""

import socket
import threading
from contextlib import closing

import pytest

from scripts.benchmark.audience import Audience, Ear
from scripts.benchmark.service import Service

UPDATE = b"id: 7\nevent: availability\ndata: {}\n\n"


@pytest.mark.parametrize("cut", range(len(UPDATE) + 1))
def test_an_update_cut_anywhere_is_counted_once(cut: int) -> None:
    with socket.socket() as unused:
        ear = Ear(unused)
        assert ear.hear(UPDATE[:cut]) + ear.hear(UPDATE[cut:]) + ear.hear(UPDATE) == 2
        assert ear.updates == 2


def test_a_booking_of_anothers_is_no_update() -> None:
    with socket.socket() as unused:
        assert Ear(unused).hear(b"event: booking\ndata: null\n\n:\n\n") == 0


def test_a_connection_that_the_service_ends_at_once_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ending = threading.Thread(target=lambda: server.accept()[0].close())
        ending.start()
        with closing(Audience(server.getsockname(), 1)) as audience, pytest.raises(ConnectionError):
            audience.gather(1)
        ending.join()


def test_an_event_that_there_is_none_of_is_told_at_once(running_service: Service) -> None:
    host, port = running_service.url.removeprefix("http://").split(":")
    with (
        closing(Audience((host, int(port)), 999_999)) as audience,
        pytest.raises(ConnectionError, match="answered 404"),
    ):
        audience.gather(2)


def test_more_listeners_than_gather_at_once_all_hear_of_the_event(
    running_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.benchmark.audience.OPENED_AT_ONCE", 3)
    sale = running_service.open_sale()
    host, port = running_service.url.removeprefix("http://").split(":")
    near, far = socket.socketpair()
    with closing(Audience((host, int(port)), sale.event_id)) as audience:
        audience.gather(8)
        far.close()
        heard = audience.listen_until_told(near.fileno())
    near.close()
    assert (heard.listeners, heard.lost) == (8, 0)
