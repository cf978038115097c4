"""The real scripts with one line changed: they read the time from a key of the test server, which a test can set.

The service has no such switch. The scripts' text is changed here, and they get hashes of their own.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

from booking.inventory.script_connection import ANSWER_SECONDS_MAX, ScriptCall, ScriptConnection
from booking.inventory.scripts import Script, all_scripts

CLOCK_KEY = b"the-time-in-microseconds"
REAL = "  local time = call('TIME')\n"
TOLD = f"""\
  local time_us = tonumber(call('GET', '{CLOCK_KEY.decode()}'))
  local time = {{math.floor(time_us / 1000000), time_us % 1000000}}
"""


def rewritten(script: Script, old: str, new: str) -> Script:
    """Replaces a text in a script. The text has to occur exactly once."""
    source = script.source.decode()
    assert source.count(old) == 1, f"{script.name} has {source.count(old)} times: {old}"
    changed = source.replace(old, new).encode()
    return dataclasses.replace(
        script, source=changed, sha=hashlib.sha1(changed, usedforsecurity=False).hexdigest().encode()
    )


def scripts_with_settable_clock() -> dict[str, Script]:
    """Every script by name. Those that ask for the time read it from a key instead."""
    scripts = {script.name: script for script in all_scripts()}
    return {name: rewritten(s, REAL, TOLD) if "clock" in s.header.uses else s for name, s in scripts.items()}


class RewrittenConnection(ScriptConnection):
    """A connection that replaces scripts, by their names, before it sends them."""

    def __init__(self, address: str, instead: Mapping[str, Script]) -> None:
        super().__init__(address, instead.values())
        self._instead = instead

    def exchange(
        self, calls: Sequence[ScriptCall], answered: Callable[[bool], None], seconds_max: float = ANSWER_SECONDS_MAX
    ) -> None:
        """As `ScriptConnection.exchange`."""
        for call in calls:
            call.script = self._instead[call.script.name]
        super().exchange(calls, answered, seconds_max)
