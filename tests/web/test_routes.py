"""The table that a crowd's requests are looked up in."""

import pytest
from starlette.routing import Route
from starlette.types import Receive, Scope

from booking.web.responses import Answer
from booking.web.routes import ByMethod, DirectRouter, Sent


async def answering(_: Scope, __: Receive) -> Answer:
    raise NotImplementedError


async def sending(*_: object) -> None:
    raise NotImplementedError


@pytest.fixture
def router() -> DirectRouter:
    paths = ("/book", "/events", "/events/{event_id}", "/events/{event_id}/booking", "/problems/{code}")
    answered = [Route(path, ByMethod({"GET": Sent(answering), "POST": Sent(answering)})) for path in paths]
    router = DirectRouter(redirect_slashes=False)
    router.open([*answered, Route("/live", ByMethod({"GET": sending})), Route("/plain", answering)])
    return router


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters"),
    [
        (b"POST", b"/book", "/book", {}),
        (b"GET", b"/events", "/events", {}),
        (b"GET", b"/events/12", "/events/{event_id}", {"event_id": "12"}),
        (b"GET", b"/events/012", "/events/{event_id}", {"event_id": "012"}),
        (b"GET", b"/events/12/booking", "/events/{event_id}/booking", {"event_id": "12"}),
    ],
)
def test_a_path_leads_to_the_route_that_starlette_would_find(
    router: DirectRouter, method: bytes, path: bytes, route: str, parameters: dict[str, str]
) -> None:
    found = router.find(method, path)
    assert found is not None
    its_method, its_route, endpoint, its_parameters = found
    assert isinstance(its_route, Route)
    assert (its_method.encode(), its_route.path, its_parameters) == (method, route, parameters)
    assert endpoint is answering


@pytest.mark.parametrize(
    "path",
    [
        b"", b"/", b"//", b"book", b"/book/", b"/book?a", b"/%62ook", b"/events/", b"/events//", b"/events/x",
        b"/events/12/", b"/events/12?a", b"/events/12/booking/", b"/events/12/booking/1", b"/events//booking",
        b"/events/{event_id}", b"/events/\xc2\xb2", b"/problems/12", b"/live", b"/plain", b"*", b"http://x/book",
    ],
)  # fmt: skip
def test_any_other_path_is_left_to_starlette(router: DirectRouter, path: bytes) -> None:
    assert router.find(b"GET", path) is None


def test_so_is_a_method_that_a_path_does_not_have_and_head_whose_answer_has_no_body(router: DirectRouter) -> None:
    assert router.find(b"PUT", b"/book") is None
    assert router.find(b"HEAD", b"/events/1") is None
