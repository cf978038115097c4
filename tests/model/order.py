"""The order in which the lane runs commands that wait together."""

from collections.abc import Sequence

Kind = tuple[int, object] | None
"""The event that a command changes, and what it shares a call with; None for one that changes nothing of an event."""


def as_they_are_run(kinds: Sequence[Kind]) -> list[int]:
    """The places of these commands as the lane promises: what changes an event in the order it was asked in, what is
    alike in one call, and whoever changes nothing after all of them.
    """
    calls: list[list[int]] = []
    latest: dict[int, list[int]] = {}
    for place, kind in enumerate(kinds):
        if kind is None:
            continue
        call = latest.get(kind[0])
        if call is None or kinds[call[0]] != kind:
            call = latest[kind[0]] = []
            calls.append(call)
        call.append(place)
    changing = [place for call in calls for place in call]
    return changing + [place for place, kind in enumerate(kinds) if kind is None]
