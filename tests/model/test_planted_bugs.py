"""The search finds a bug of each kind, planted in any of the scripts, within a bounded number of steps."""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st

from booking.inventory.errors import InventoryUnavailable
from booking.inventory.scripts import Script, with_constants
from tests.model.match import Arena, Difference
from tests.model.money import paid_sales
from tests.model.search import anything, search
from tests.model.settable_clock import rewritten, scripts_with_settable_clock
from tests.model.small_steps import falling_capacities, scripts_of_small_steps, small_scenarios
from tests.model.steps import Scenario

STEPS_MAX = 20_000


@dataclass(frozen=True)
class Bug:
    """Replaces one piece of Lua by another in every script that contains it."""

    right: str
    wrong: str
    seed: int = 0
    """Where the search begins; another one than 0 if that finds the bug late, which a search of many steps may."""


BUGS = {
    # The six kinds, in the scripts and in their fragments.
    "skipped guard: book while paused": Bug("if sale.paused == 1 then return SALE_PAUSED end", ""),
    "off by one: a hold lives at its very end": Bug(
        "tonumber(booking.expires) > now", "tonumber(booking.expires) >= now"
    ),
    "wrong order: the last in line first": Bug(
        "call('ZRANGE', waiting, fetched,", "call('ZREVRANGE', waiting, fetched,"
    ),
    "missing counter: who leaves still weighs on the list": Bug("sale.backlog - booking.quantity", "sale.backlog"),
    "double release: leaving the list frees tickets": Bug(
        "    leave_waitlist(user, mine)\n", "    leave_waitlist(user, mine)\n    sale.available = sale.available + 1\n"
    ),
    "missing stream entry: a confirmation": Bug("  emit('confirmed', user, mine)\n", "  touched[user] = true\n"),
    # More bugs, so that every script has one.
    "off by one: one ticket too many on the waiting list": Bug(
        "quantity <= sale.waitlist_limit", "quantity <= sale.waitlist_limit + 1"
    ),
    "skipped guard: a smaller group overtakes": Bug("waiting_count == 0 and quantity <=", "quantity <="),
    "missing counter: a larger capacity is not for sale": Bug(
        "sale.available = sale.available + wanted.capacity - sale.capacity\n", ""
    ),
    "missing counter: an event is made without its opening": Bug("'opens_at', opens_at,", "'opens_at', '',"),
    "off by one: a place counted from 0": Bug("call('ZRANK', waiting, user) + 1", "call('ZRANK', waiting, user)"),
    "double release: an expired hold": Bug(
        "then return 0 end\n  give_back(user, booking)\n",
        "then return 0 end\n  give_back(user, booking)\n  give_back(user, booking)\n",
    ),
    "skipped guard: a used key answers any request": Bug("if row and asked ~= first_asked then", "if false then"),
    "off by one: a refusal lasts a millisecond too long": Bug(
        "REFUSAL_MS = 86400000, 600000", "REFUSAL_MS = 86400000, 600001", seed=8
    ),
    "missing stream entry: an expired hold": Bug("emit('expired', user, booking)", "touched[user] = true"),
    "wrong order: tickets found before the dead holds are expired": Bug(
        "if not pruned_from then expire_holds(TICKETS_STEP) end", "overdue_left = false"
    ),
    "wrong actor: an expired hold and what follows name the last caller": Bug(
        "EXPIRED_LETTER, ''", "EXPIRED_LETTER, actor"
    ),
    "wrong actor: a promotion after a cancel names the buyer who cancelled for another": Bug(
        "local function cancel(user, quantity, reason, id)\n  expire_own(user)\n  actor = acting or user",
        "local function cancel(user, quantity, reason, id)\n  expire_own(user)\n  actor = user",
    ),
    "skipped guard: book an archived event": Bug("if sale.archived == 1 then return SALE_CLOSED end", "", seed=8),
    "missing stream entry: a change of details alone": Bug(
        "if told ~= details_text() then\n  differs = true\n", "if told ~= details_text() then\n"
    ),
    "lost detail: a change forgets the others": Bug("read_details()\nlocal told", "local told"),
    "off by one: an event is due only after its end": Bug("due, '-inf', now,", "due, '-inf', now - 1,", seed=5),
}


SMALL_BUGS = {
    # These show only if a call leaves work for the next, which takes thousands of users or a step size of one.
    "lost step: pruning goes on behind the next person": Bug("booking.number + 1", "booking.number + 2", seed=7),
    "lost step: pruning forgets that there is more": Bug(
        "call('HSET', event, 'prune_from', whole(sale.prune_from), 'prune_actor', prune_actor)",
        "call('HDEL', event, 'prune_from')",
    ),
    "wrong actor: pruning in a later call has none": Bug("call('HGET', event, 'prune_actor')", "false"),
    "off by one: a group of the whole capacity is pruned": Bug(
        "booking.quantity > sale.capacity then", "booking.quantity >= sale.capacity then"
    ),
    "double work: an item that is left undone was done": Bug(
        "  if is_unread(replay) or must_wait(i) then\n    rows[i] = send_again()\n  else\n"
        "    rows[i] = decide(user, quantity",
        "  if must_wait(i) then\n    decide(user, quantity, reason, payment, replay, request)\n"
        "    rows[i] = send_again()\n  else\n    rows[i] = decide(user, quantity",
    ),
}


MONEY_BUGS = {
    "late payment: it overtakes those who wait": Bug("not fits(payment.quantity)", "payment.quantity > sale.available"),
    "late payment: it gives a second booking": Bug("is_live(known[user]) or not fits", "not fits", seed=7),
    "double booking: a payment books again after its booking was cancelled": Bug(
        "if payment.state == PAID_LETTER then return BOOKING_NOT_FOUND end", "", seed=1
    ),
    "double refund: it is told at each repetition": Bug(
        "if payment.state == REFUND_LETTER then return REFUND_DUE end", "", seed=1
    ),
    "double extension: a second checkout extends the hold": Bug(
        "mine.status == HELD_LETTER and not mine.payment", "mine.status == HELD_LETTER"
    ),
    "skipped guard: a confirmed booking is to be paid once more": Bug(
        "if mine.status == CONFIRMED_LETTER then return CHECKED_OUT, 0, mine.record end", ""
    ),
    "skipped guard: a buyer confirms what has to be paid": Bug(
        "return not acting and (details", "return false and (details", seed=2
    ),
    "skipped guard: any payment confirms": Bug("(id == '' or id == mine.payment)", "true"),
    "skipped guard: a failed payment releases a confirmed booking": Bug(
        "mine.status ~= HELD_LETTER or mine.payment ~= id", "mine.payment ~= id"
    ),
    "wrong length: an offer lasts as long as the sale's holds": Bug("sale.offer_ms or sale.hold_ms", "sale.hold_ms"),
    "lost place: the rest of a part goes to the end of the list": Bug(
        "  emit('reduced', user, booking, reason)\n",
        "  booking.number = false\n  emit('reduced', user, booking, reason)\n",
    ),
    "missing counter: a part that was given back is not for sale": Bug("    release(booking, quantity)\n", ""),
    "lost tickets: a late payment books what the hold had before a part was given back": Bug(
        "payment.quantity = booking.quantity", "payment.quantity = payment.quantity", seed=3
    ),
}


@pytest.mark.parametrize("name", MONEY_BUGS)
def test_a_planted_bug_in_payments_offers_and_parts_is_found(clean_valkey: str, name: str) -> None:
    search_for(MONEY_BUGS[name], scripts_with_settable_clock(), clean_valkey, name, paid_sales)


@pytest.mark.parametrize("name", SMALL_BUGS)
def test_a_planted_bug_in_work_done_in_steps_is_found(clean_valkey: str, name: str) -> None:
    drawn = falling_capacities if "prune" in name or "pruning" in name else small_scenarios
    search_for(SMALL_BUGS[name], scripts_of_small_steps(), clean_valkey, name, drawn)


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(clean_valkey: str, name: str) -> None:
    search_for(BUGS[name], scripts_with_settable_clock(), clean_valkey, name, anything)


def search_for(
    bug: Bug, scripts: dict[str, Script], address: str, name: str, drawn: st.SearchStrategy[Scenario]
) -> None:
    """Searches until the bug shows. Fails if it does not within STEPS_MAX steps."""
    right, wrong = with_constants(bug.right), with_constants(bug.wrong)
    having = [script for script in scripts.values() if right in script.source.decode()]
    assert having, "no script has the text to replace: update the planted bug"
    scripts |= {script.name: rewritten(script, right, wrong) for script in having}
    with Arena(address, scripts) as arena:
        with pytest.raises((Difference, InventoryUnavailable)):
            search(arena, f"{name}:{bug.seed}" if bug.seed else name, STEPS_MAX, shrink=False, drawn=drawn)
        print(f"{name}: found within {arena.steps} steps")
