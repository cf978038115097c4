"""The Lua scripts. Each file's header is its contract; it is parsed once and gives the script its named arguments."""

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from booking.domain.outcomes import FIRST_REFUSAL, UNCHANGED, Status
from booking.inventory.records import (
    PAYMENT_LETTERS,
    PAYMENT_VERSION,
    RECORD_VERSION,
    SOURCE_LETTERS,
    STATUS_LETTERS,
)

HEADER_LINE = re.compile(r"^--\s+(?:(KEYS\[(?:\d+|\*)\]|[A-Z]{3,})\s+)?(.*)$")

SHARED = ("clock", "shard", "record", "event")
"""The fragments that nearly all functions of a script use. They come first in its header."""

CONSTANTS = {
    "FIRST_REFUSAL": str(FIRST_REFUSAL),
    "RECORD_VERSION": f"'{RECORD_VERSION}'",
    "PAYMENT_VERSION": f"'{PAYMENT_VERSION}'",
    **{f"{status.name}_LETTER": f"'{letter}'" for status, letter in STATUS_LETTERS.items()},
    **{f"{source.name}_LETTER": f"'{letter}'" for source, letter in SOURCE_LETTERS.items()},
    **{f"{name}_LETTER": f"'{letter}'" for name, letter in PAYMENT_LETTERS.items()},
    **{status.name: str(int(status)) for status in Status},
}
"""What the scripts may name without a declaration, and its value in Lua."""

CONSTANT = re.compile(rf"\b(?:{'|'.join(CONSTANTS)})\b")


class ScriptError(Exception):
    """A script's header is wrong."""


@dataclass(frozen=True, slots=True)
class Header:
    """The comment at the top of a script or of a shared fragment."""

    purpose: str
    keys: tuple[str, ...]
    key_types: tuple[str, ...]
    arguments: tuple[str, ...]
    items: tuple[str, ...]
    uses: tuple[str, ...]
    statuses: tuple[Status, ...]
    events: str
    returns: str


@dataclass(frozen=True, slots=True)
class Script:
    """A script, ready for EVALSHA: `KEYS` as in the header; then `arguments`, followed by the items."""

    name: str
    header: Header
    source: bytes = field(repr=False)
    sha: bytes
    defers_items: bool
    """Whether the script may leave its last items to the next call (`SEND_AGAIN`)."""

    @property
    def changes(self) -> bool:
        """Whether the script makes changes, so that a lost reply means an unknown outcome."""
        return any(status < FIRST_REFUSAL and status not in UNCHANGED for status in self.header.statuses)


def folder() -> Path:
    """The scripts' folder: inside the package if it was installed from a wheel, next to it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "lua"
    return inside if inside.is_dir() else package.parent / "lua"


def read_header(text: str) -> Header:
    """Parses a header. Raises ScriptError for a key out of order or a status that the enum does not have."""
    found: dict[str, list[str]] = {}
    keys: list[tuple[str, str]] = []
    word = "PURPOSE"
    for line in text.splitlines():
        match = HEADER_LINE.match(line)
        if match is None:
            break
        word, rest = match[1] or word, match[2]
        if word.startswith("KEYS["):
            if word == "KEYS[*]":
                continue
            if word != f"KEYS[{len(keys) + 1}]":
                raise ScriptError(f"{word} is out of order")
            name, kind = rest.split()[:2]
            keys.append((name, kind))
        else:
            found.setdefault(word, []).append(rest)
    words = {name: " ".join(lines).split() for name, lines in found.items()}
    try:
        statuses = tuple(Status[name] for name in words.get("STATUSES", []))
    except KeyError as error:
        raise ScriptError(f"no status is called {error}") from None
    return Header(
        purpose=" ".join(found.get("PURPOSE", [])),
        keys=tuple(name for name, _ in keys),
        key_types=tuple(kind for _, kind in keys),
        arguments=tuple(words.get("ARGV", [])),
        items=tuple(words.get("ITEMS", [])),
        uses=tuple(words.get("USES", [])),
        statuses=statuses,
        events=" ".join(found.get("EVENTS", [])),
        returns=" ".join(found.get("RETURNS", [])),
    )


@cache
def load(name: str) -> Script:
    """Reads `lua/{name}.lua`, prepends the fragments that its header names, and binds its arguments to names."""
    text = (folder() / f"{name}.lua").read_text(encoding="utf-8")
    header = read_header(text)
    fragments = [(folder() / "shared" / f"{used}.lua").read_text(encoding="utf-8") for used in header.uses]
    statuses = dict.fromkeys((*header.statuses, *(s for part in fragments for s in read_header(part).statuses)))
    shared = sum(1 for used in header.uses if used in SHARED)
    outer, inner = [_bindings(header), *fragments[:shared]], [*fragments[shared:], text]
    # Each call creates all functions of the script. For each local of the same level that a function uses, Lua searches
    # a list. Locals of an enclosing function need no search, which saves a third of this time.
    lua = "\n".join((*outer, "return (function()", *inner, "end)()"))
    source = with_constants(lua).encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return Script(name, header, source, sha, Status.SEND_AGAIN in statuses)


def all_scripts() -> list[Script]:
    """Every script."""
    return [load(path.stem) for path in sorted(folder().glob("*.lua"))]


def _bindings(header: Header) -> str:
    """The header's names as Lua locals, so that a script and its callers agree on the order of the arguments."""
    lines = [
        _locals(header.keys, [f"KEYS[{i + 1}]" for i in range(len(header.keys))]),
        f"local FIXED_KEYS = {len(header.keys)}",
        _locals(header.arguments, [f"ARGV[{i + 1}]" for i in range(len(header.arguments))]),
    ]
    if header.items:
        first, size = len(header.arguments) + 1, len(header.items)
        fields = ", ".join(f"ARGV[at + {i}]" for i in range(size))
        lines.append(
            f"local function items() local at, i = {first - size}, 0 return function()"
            f" at, i = at + {size}, i + 1 if at <= #ARGV then return i, {fields} end end end"
        )
    return "\n".join(lines)


def with_constants(source: str) -> str:
    """The source with the values of constants in place of their names, because each local costs each call some time."""
    return CONSTANT.sub(lambda name: CONSTANTS[name[0]], source)


def _locals(names: "tuple[str, ...] | list[str]", values: list[str]) -> str:
    return f"local {', '.join(names)} = {', '.join(values)}"
