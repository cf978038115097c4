"""The time zones that an event may have."""

from functools import cache
from importlib.resources import files

FORM = r"^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"
"""The form of a zone's name."""

NAME_CHARACTERS_MAX = 64


@cache
def time_zones() -> frozenset[str]:
    """The names of all zones in the IANA database.

    They come from the package `tzdata`, which `zoneinfo` reads, too: all nodes know the same zones, and a container
    needs none of the system's.
    """
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split()) - {"Factory"}
