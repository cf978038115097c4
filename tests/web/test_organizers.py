"""Whose event it is."""

import pytest

from booking.domain.callers import Caller
from booking.domain.model import Rules
from booking.ledger import EventRecord
from booking.web.organizers import require_owner
from booking.web.problems import Problem


def event(organizer_id: str | None) -> EventRecord:
    return EventRecord(1, Rules("Night", 1), 0, 1, organizer_id)


def test_an_event_without_an_organizer_belongs_to_the_administrators() -> None:
    require_owner(Caller("ann", organizer=True, admin=True), event(None))
    with pytest.raises(Problem) as refused:
        require_owner(Caller("ann", organizer=True), event(None))
    assert (refused.value.code, "administrators" in refused.value.detail) == ("forbidden", True)


def test_an_organizer_who_is_one_no_more_owns_nothing() -> None:
    require_owner(Caller("ann", organizer=True), event("ann"))
    with pytest.raises(Problem):
        require_owner(Caller("ann", organizer=False), event("ann"))
