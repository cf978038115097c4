"""The order in which the batcher runs commands that wait together."""

from collections.abc import Sequence

Kind = tuple[int, object] | None
"""The event that a command changes and its kind. None if it changes no event."""


def execution_order(kinds: Sequence[Kind]) -> list[int]:
    """The indexes of these commands in the order in which the batcher runs them.

    Commands that change an event run in the order in which they were sent, adjacent ones of one kind in one call.
    Commands that change nothing run after all of them.
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
