"""The table in front of the router."""

import pytest
from starlette.routing import Route, Router

from booking.web.routes import ByMethod, RouteTable


async def endpoint(*_: object) -> None:
    raise NotImplementedError


@pytest.fixture
def table() -> RouteTable:
    paths = ("/book", "/events", "/events/{event_id}", "/events/{event_id}/booking", "/problems/{code}")
    table = RouteTable(Router(redirect_slashes=False))
    table.serve(
        [*(Route(path, ByMethod({"GET": endpoint, "POST": endpoint})) for path in paths), Route("/plain", endpoint)]
    )
    return table


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters"),
    [
        ("POST", "/book", "/book", {}),
        ("HEAD", "/events", "/events", {}),
        ("GET", "/events/12", "/events/{event_id}", {"event_id": "12"}),
        ("GET", "/events/012", "/events/{event_id}", {"event_id": "012"}),
        ("GET", "/events/12/booking", "/events/{event_id}/booking", {"event_id": "12"}),
    ],
)
def test_a_path_has_the_same_endpoint_as_in_starlettes_router(
    table: RouteTable, method: str, path: str, route: str, parameters: dict[str, str]
) -> None:
    found = table.find(method, path)
    assert found is not None
    assert (found[0].path, found[1], found[2]) == (route, endpoint, parameters)


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "//", "book", "/book/", "/events/", "/events//", "/events/x", "/events/12/", "/events/12/booking/",
        "/events/12/booking/1", "/events//booking", "/events/{event_id}", "/events/\xb2", "/problems/12", "/plain", "*",
    ],
)  # fmt: skip
def test_any_other_path_is_left_to_starlette(table: RouteTable, path: str) -> None:
    assert table.find("GET", path) is None


def test_a_method_that_a_path_does_not_have_is_left_to_starlette(table: RouteTable) -> None:
    assert table.find("PUT", "/book") is None
