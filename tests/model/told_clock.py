"""The real scripts with one line changed: their time is what a key of the test server says, so that a test can move it.

The service has no such switch: the scripts are changed here, as text, and sent under hashes of their own.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

from booking.inventory.script_connection import ScriptCall, ScriptConnection
from booking.inventory.scripts import Script, all_scripts

CLOCK_KEY = b"the-time-in-microseconds"
REAL = "  local time = call('TIME')\n"
TOLD = f"""\
  local told = tonumber(call('GET', '{CLOCK_KEY.decode()}'))
  local time = {{math.floor(told / 1000000), told % 1000000}}
"""


def rewritten(script: Script, old: str, new: str) -> Script:
    """A script with another text in one place, which has to be there exactly once."""
    source = script.source.decode()
    assert source.count(old) == 1, f"{script.name} has {source.count(old)} times: {old}"
    changed = source.replace(old, new).encode()
    return dataclasses.replace(
        script, source=changed, sha=hashlib.sha1(changed, usedforsecurity=False).hexdigest().encode()
    )


def scripts_told_the_time() -> dict[str, Script]:
    """Every script that asks for the time, by name, told it instead; the others as they are."""
    scripts = {script.name: script for script in all_scripts()}
    return {name: rewritten(s, REAL, TOLD) if "clock" in s.header.uses else s for name, s in scripts.items()}


class RewrittenLink(ScriptConnection):
    """A connection that sends other scripts than it was asked to, by their names."""

    def __init__(self, address: str, instead: Mapping[str, Script]) -> None:
        super().__init__(address, instead.values())
        self._instead = instead

    def exchange(self, calls: Sequence[ScriptCall], answered: Callable[[bool], None]) -> None:
        """As `Link.exchange`."""
        for call in calls:
            call.script = self._instead[call.script.name]
        super().exchange(calls, answered)
