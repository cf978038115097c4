"""A script's header agrees with its body, with the enum of statuses and with the method that uses it."""

import ast
import inspect
import re

import pytest

from booking.domain.changes import ChangeKind
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.box_office import BoxOffice, RateLimit
from booking.inventory.keys import EVENT_KEY_NAMES
from booking.inventory.password_checks import PasswordChecks
from booking.inventory.script_connection import PendingCalls, ScriptCall, ScriptConnection
from booking.inventory.scripts import CONSTANTS, SHARED, Header, ScriptError, all_scripts, folder, load, read_header
from booking.inventory.streams import ChangeStreams, begin_terms, verify_or_fence
from tests.fixtures.stock import EPOCHS, open_stock

SCRIPTS = [script.name for script in all_scripts()]
FRAGMENTS = sorted(path.stem for path in (folder() / "shared").glob("*.lua"))
TYPES = {"H": "hash", "L": "list", "R": "list", "Z": "zset", "X": "stream"}
OF_ANY_TYPE = {"TIME", "EXISTS", "PTTL", "PEXPIRE", "UNLINK"}
STRING_COMMANDS = {"DEL", "GET", "SET", "INCRBY"}
KINDS = {kind.value for kind in ChangeKind}

METHODS = {
    "begin_password_check": {"begin"},
    "end_password_check": {"end"},
    "book": {"book"},
    "cancel": {"cancel"},
    "change": {"change"},
    "checkout": {"check_out"},
    "confirm": {"confirm"},
    "create": {"create"},
    "changed_events": {"changed_events"},
    "events_to_expire": {"events_to_expire"},
    "lag": {"lag"},
    "claim_event_id": {"next_event_id"},
    "get_event": {"_read"},  # one script for `get_event` and `get_booking`, so that they can share a call
    "next_event_id": {"_count_event"},
    "take_token": {"take_token"},
    "take_address_token": {"take_address_token"},
    "begin_term": {"begin_terms"},
    "initialize_shard": {"initialize_shards"},
    "share_persisters": {"share"},
    "trim": {"trim"},
    "verify_or_fence": {"verify_or_fence", "read"},
    "version_records": {"version_records"},
}


def text(name: str) -> str:
    place = folder() / "shared" if name in FRAGMENTS else folder()
    return (place / f"{name}.lua").read_text(encoding="utf-8")


def code(name: str) -> str:
    """The text without its comments."""
    return re.sub(r"--.*", "", text(name))


def words(name: str) -> set[str]:
    """The identifiers in the code, without those in quotes."""
    return set(re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "", code(name))))


def header(name: str) -> Header:
    return read_header(text(name))


def sources(script: str) -> list[str]:
    return [*header(script).uses, script]


def needs(fragment: str) -> list[str]:
    line = re.search(r"^-- NEEDS\s+([\w ]+)", text(fragment), re.MULTILINE)
    return line[1].split() if line else []


def kinds_in(name: str) -> set[str]:
    return set(re.findall(r"'(\w+)'", code(name))) & KINDS


def statuses_in(name: str) -> set[str]:
    return words(name) & set(Status.__members__)


def test_there_are_scripts_and_fragments() -> None:
    assert {"book", "cancel"} <= set(SCRIPTS)
    assert {"event", "commit"} <= set(FRAGMENTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_header_has_the_scripts_name_and_what_it_returns(script: str) -> None:
    assert header(script).purpose.startswith(f"{script}: ")
    assert header(script).returns


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_fragments_header_has_its_name_and_some_script_uses_it(fragment: str) -> None:
    assert header(fragment).purpose.startswith(f"{fragment}: ")
    assert any(fragment in header(script).uses for script in SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_includes_a_fragment_after_those_that_it_needs(script: str) -> None:
    said = header(script)
    for place, fragment in enumerate(said.uses):
        for need in needs(fragment):
            if need in FRAGMENTS and need != fragment:  # a key may have a fragment's name
                assert need in said.uses[:place], f"{fragment} needs {need}"
            else:
                assert need in (*said.keys, *said.arguments), f"{fragment} needs {need}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_fragments_that_nearly_all_use_come_first(script: str) -> None:
    uses = header(script).uses
    assert [used in SHARED for used in uses] == sorted((used in SHARED for used in uses), reverse=True)


@pytest.mark.parametrize("name", [*SCRIPTS, *FRAGMENTS])
def test_no_local_has_the_name_of_a_constant(name: str) -> None:
    declared = re.findall(r"(?:local|function|for) ([\w, ]+)", code(name))
    assert CONSTANTS.keys().isdisjoint(word for names in declared for word in names.split(", "))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_key_argument_and_item_of_a_header_is_used(script: str) -> None:
    said = header(script)
    used = set[str]().union(*map(words, sources(script)))
    # Every script about an event gets all of its keys, so that fragments find them under the same names.
    named = said.arguments if "rates" in said.uses and "event" in said.uses else (*said.keys, *said.arguments)
    assert set(named) <= used
    assert {name for loop in item_loops(script) for name in loop} >= set(said.items)


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_fragment_runs_nothing_until_one_of_its_functions_is_called(fragment: str) -> None:
    outside = re.sub(r"^local function .*?^end$", "", code(fragment), flags=re.DOTALL | re.MULTILINE)
    statements = [line for line in outside.splitlines() if line.strip() and not line.startswith("  ")]
    assert [line for line in statements if not line.startswith("local ") or "(" in line] == []


def item_loops(script: str) -> list[list[str]]:
    """The variable names of each loop over the items, one list a loop."""
    return [re.split(r",\s*", names)[1:] for names in re.findall(r"for ([\w, ]+) in items\(\)", code(script))]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_loop_over_items_names_their_fields_in_the_headers_order(script: str) -> None:
    for loop in item_loops(script):
        assert len(loop) <= len(header(script).items)
        for name, declared in zip(loop, header(script).items, strict=False):
            assert name in (declared, "_")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_about_an_event_gets_all_of_its_keys_in_order(script: str) -> None:
    said = header(script)
    if "event" in said.uses:
        assert said.keys == EVENT_KEY_NAMES[: 10 if "payments" in said.uses else 9 if "rates" in said.uses else 7]
        assert said.arguments[:2] == ("expected_epoch", "event_id")


def test_a_key_has_the_same_type_in_every_script() -> None:
    types: dict[str, set[str]] = {}
    for script in SCRIPTS:
        for name, kind in zip(header(script).keys, header(script).key_types, strict=True):
            types.setdefault(name, set()).add(kind)
    assert {name: kinds for name, kinds in types.items() if len(kinds) > 1} == {}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_fits_the_type_of_its_key(script: str) -> None:
    said = header(script)
    types = dict(zip(said.keys, said.key_types, strict=True))
    for source in sources(script):
        for command, key in re.findall(r"(?:call|write)\('([A-Z]+)'(?:, (\w+))?", code(source)):
            if command in OF_ANY_TYPE:
                continue
            wanted = "string" if command in STRING_COMMANDS else TYPES[command[0]]
            # An item names the answers `list`, and the event `watched`; `current` and `previous` are rate buckets.
            stands_for = {"list": "list"} | dict.fromkeys(("current", "previous", "watched"), "hash")
            assert types.get(key, stands_for.get(key)) == wanted, (source, command, key)


@pytest.mark.parametrize("name", [*SCRIPTS, *FRAGMENTS])
def test_a_header_lists_exactly_the_statuses_of_its_body(name: str) -> None:
    assert {status.name for status in header(name).statuses} == statuses_in(name)


def test_every_status_is_returned_by_some_script() -> None:
    assert set[str]().union(*map(statuses_in, [*SCRIPTS, *FRAGMENTS])) == set(Status.__members__)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_header_lists_exactly_the_changes_that_its_body_makes(script: str) -> None:
    promised = set(re.findall(r"\w+", header(script).events)) & KINDS
    own = kinds_in(script)
    assert own <= promised
    assert promised <= own.union(*(kinds_in(fragment) for fragment in header(script).uses))


def test_every_kind_of_change_is_listed_by_some_script() -> None:
    promised = {word for script in SCRIPTS for word in re.findall(r"\w+", header(script).events)}
    assert promised >= KINDS


@pytest.mark.parametrize("name", [*SCRIPTS, *FRAGMENTS])
def test_a_script_uses_only_commands_that_every_server_has(name: str) -> None:
    assert {
        "load",
        "pcall",
        "xpcall",
        "cjson",
        "cmsgpack",
        "struct",
        "bit",
        "os",
        "loadstring",
        "setfenv",
        "random",
    }.isdisjoint(words(name))
    assert set(re.findall(r"redis\.(\w+)", code(name))) <= {"call", "error_reply"}
    assert re.findall(r"KEYS\[\d|ARGV\[\d", code(name)) == [], "use the header's names instead of indexes"


def test_each_script_is_used_by_exactly_one_method() -> None:
    users: dict[str, set[str]] = {}
    for user in (BoxOffice, ChangeStreams, PasswordChecks, begin_terms, verify_or_fence):
        (written,) = ast.parse(inspect.getsource(user)).body
        for method in written.body if isinstance(written, ast.ClassDef) else [written]:
            if isinstance(method, ast.AsyncFunctionDef | ast.FunctionDef):
                calls = [node for node in ast.walk(method) if isinstance(node, ast.Call)]
                for argument in (argument for call in calls for argument in call.args):
                    if isinstance(argument, ast.Constant) and argument.value in SCRIPTS:
                        users.setdefault(str(argument.value), set()).add(method.name)
    assert users == METHODS
    assert users.keys() == set(SCRIPTS)


def values_promised(script: str) -> int:
    """How many values a row has according to the header, which separates them by semicolons."""
    _, row, values = header(script).returns.rpartition(" row: ")
    if not row:
        _, row, values = header(script).returns.rpartition(" row for each item: ")
    assert row, f"{script} names no row"
    return len(values.split(";"))


@pytest.fixture
async def answers(clean_valkey: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[object]]]:
    """The rows that each script returned during a short sale, successes and refusals."""
    rows: dict[str, list[list[object]]] = {}
    take = ScriptConnection._take

    def taken(connection: ScriptConnection, exchange: PendingCalls, call: ScriptCall, reply: object) -> None:
        take(connection, exchange, call, reply)
        assert isinstance(call.answer, list), call.answer
        rows.setdefault(call.script.name, []).extend(map(list, call.answer))

    monkeypatch.setattr(ScriptConnection, "_take", taken)
    async with open_stock(clean_valkey, rate_limit=RateLimit(2, 0.001)) as stock:
        office = stock.office
        await stock.sale(1, capacity=1, hold_seconds=60)
        for user in ("ann", "bob"):
            await office.book(1, user)
        await office.check_out(1, "ann")
        await office.confirm(1, "ann")
        await office.cancel(1, "bob")
        await office.book(1, "bob")  # the rate limit refuses it
        await office.cancel(1, "cid")
        await office.confirm(1, "cid")
        for user in ("ann", "cid"):
            await office.get_booking(1, user)
        for _ in range(2):
            await office.take_token(1, "dan")
            await office.take_address_token("10.0.0.1", RateLimit(1, 0.001))
        checks = PasswordChecks(stock.batchers, RateLimit(1, 0.001))
        for _ in range(2):
            await checks.begin("ann@example.com", "10.0.0.1")
        await checks.end("ann@example.com", "10.0.0.1", drew=True, was_right=True)
        await office.next_event_id()
        await office.lags()
        (cursor, _), *_ = await stock.redis.xrange(keys.changes(1))
        for script, arguments in (
            ("initialize_shard", [EPOCHS[1]]),
            ("verify_or_fence", [EPOCHS[1], cursor, ""]),
            ("trim", [EPOCHS[1], cursor]),
            ("trim", [EPOCHS[1], cursor]),
            ("verify_or_fence", [EPOCHS[1], "9999999999999-0", ""]),
            ("verify_or_fence", [EPOCHS[1], cursor, ""]),
        ):
            names = (
                keys.changes(1),
                keys.restoring(1) if script == "initialize_shard" else keys.trimmed_to(1),
                keys.epoch(1),
            )
            rows.setdefault(script, []).extend(
                await stock.redis.eval(load(script).source, len(names), *names, *arguments)
            )
        rows["claim_event_id"] = await stock.redis.eval(load("claim_event_id").source, 1, keys.last_event(1), 9)
        version = load("version_records").source
        begin = load("begin_term").source
        rows["begin_term"] = await stock.redis.eval(begin, 1, keys.epoch(1), EPOCHS[1], EPOCHS[1])
        rows["version_records"] = await stock.redis.eval(version, 1, keys.epoch(1), EPOCHS[1])
    return rows


async def test_a_row_holds_as_many_values_as_its_header_names(answers: dict[str, list[list[object]]]) -> None:
    # records.py reads an event's row by position, and three scripts return any number of events or of persisters.
    assert answers.keys() | {"change", "changed_events", "events_to_expire", "share_persisters"} == set(SCRIPTS)
    for script in answers.keys() - {"create"}:
        rows = answers[script][1::2] if script == "get_event" else answers[script]  # after the event's own values
        assert {len(row) for row in rows} == {values_promised(script)}, script


def test_only_reads_may_be_answered_without_a_final_status() -> None:
    assert {script for script in SCRIPTS if not load(script).changes} == {
        "begin_password_check",
        "begin_term",
        "claim_event_id",
        "changed_events",
        "end_password_check",
        "events_to_expire",
        "get_event",
        "initialize_shard",
        "lag",
        "next_event_id",
        "take_address_token",
        "take_token",
        "trim",
        "share_persisters",
        "verify_or_fence",
        "version_records",
    }


def test_a_key_out_of_order_is_an_error() -> None:
    with pytest.raises(ScriptError, match="KEYS\\[3\\] is out of order"):
        read_header("-- odd: has a gap.\n-- KEYS[1] event hash\n-- KEYS[3] bookings hash\n")


def test_a_status_that_the_enum_lacks_is_an_error() -> None:
    with pytest.raises(ScriptError, match="SOLD_OFF"):
        read_header("-- odd: misspells.\n-- STATUSES BOOKED SOLD_OFF\n")


def test_a_scripts_sha_is_the_hash_of_its_loaded_source() -> None:
    shas = {script.sha for script in all_scripts()}
    assert len(shas) == len(SCRIPTS)
    assert all(re.fullmatch(rb"[0-9a-f]{40}", sha) for sha in shas)
