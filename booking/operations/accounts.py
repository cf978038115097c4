"""The commands `booking user …`: accounts listed, added, changed and removed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from booking.auth.emails import email_key, normalise_email
from booking.auth.passwords import Passwords
from booking.domain.accounts import Account, Role
from booking.domain.callers import account_user_id
from booking.inventory.box_office import BoxOffice
from booking.inventory.durability import choose
from booking.inventory.primary_batchers import PrimaryBatchers
from booking.inventory.shard_clients import opened_topology
from booking.ledger.engine import location_of
from booking.ledger.errors import EmailTaken
from booking.ledger.inspection import inspect, is_there
from booking.ledger.ledger import Ledger
from booking.ledger.migrate import migrate
from booking.operations.read_your_writes import ReadYourWrites
from booking.persister.verification import Verifier, verified_connections
from booking.settings import Settings

TITLES = {Role.USER: "a user", Role.ORGANIZER: "an organizer", Role.ADMIN: "an administrator"}


class Refused(Exception):
    """The command was not done. The message says why, and what to do."""


async def require_database(address: str) -> None:
    """Raises ValueError if the database has no tables of the service: it may be the wrong one. Raises LedgerError."""
    if not is_there(address) or (await inspect(address)).migration is None:
        raise ValueError(
            f"{location_of(address)} is not the service's database; name its folder (--data-dir) or its "
            "BOOKING_DATABASE_URL, or make a new one there with --create-database"
        )


async def has_organizer(address: str) -> bool:
    """Whether an account may create events. Raises LedgerError."""
    ledger = Ledger.open(address)
    try:
        return await ledger.has_organizer()
    finally:
        await ledger.close()


async def add_account(address: str, email: str, password: str, role: Role) -> str:
    """Adds an account to the database at `address`, or sets the password of the one with this email.

    An existing account gets `role` only if it may do more than before. Returns a sentence that says what was done.
    Raises ValueError for an invalid email, and LedgerError.
    """
    normalised, key = normalise_email(email), email_key(email)
    password_hash = await _hash(password)
    async with _opened(address, may_be_new=True) as ledger:
        try:
            account = await ledger.add_account(normalised, key, password_hash, role)
        except EmailTaken:
            existing = await _existing(ledger, email)
            most = max(role, existing.role, key=list(Role).index)
            await ledger.change_account(key, password_hash=password_hash, role=most)
            there = f"{normalised} was in {location_of(address)} already (user {account_user_id(existing.id)})"
            return f"{there}: its password is changed, its tokens are ended, and it is {TITLES[most]}."
        where = f"{location_of(address)} (user {account_user_id(account.id)})"
        return f"{normalised} is added to {where}, as {TITLES[role]}."


async def set_password(address: str, email: str, password: str) -> str:
    """Sets the password of an account, and ends its tokens. Raises ValueError, Refused, LedgerError."""
    password_hash = await _hash(password)
    async with _opened(address) as ledger:
        await _existing(ledger, email)
        account = await ledger.change_account(email_key(email), password_hash=password_hash)
        if account is None:
            raise Refused(f"{email} was removed meanwhile")
        return f"The password of {_named(account, address)} is changed, and its tokens are ended."


async def promote(address: str, email: str, role: Role) -> str:
    """Gives an account a role that may do more. Raises ValueError, Refused, LedgerError."""
    async with _opened(address) as ledger:
        account = await _existing(ledger, email)
        named = _named(account, address)
        if list(Role).index(account.role) > list(Role).index(role):
            raise Refused(f"{named} is {TITLES[account.role]}, which may do more; run `booking user demote` first")
        await ledger.change_account(email_key(email), role=role)
        return f"{named} is {TITLES[role]} from its next login."


async def demote(address: str, email: str) -> str:
    """Makes an account a plain user, and ends its tokens. Raises ValueError, Refused, LedgerError."""
    async with _opened(address) as ledger:
        account = await _existing(ledger, email)
        await ledger.change_account(email_key(email), role=Role.USER)
        return f"{_named(account, address)} is a user, and its tokens are ended."


async def list_accounts(address: str, role: Role | None) -> list[tuple[str, str, str]]:
    """User id, role and email of every account, or of those with this role. Raises LedgerError."""
    async with _opened(address) as ledger:
        return [
            (account_user_id(one.id), one.role, one.email)
            async for one in ledger.accounts()
            if role is None or one.role is role
        ]


async def remove_account(settings: Settings, email: str, *, force: bool) -> str:
    """Erases an account's email and password, and ends its tokens. Its bookings stay under its user id.

    If it has live bookings, raises Refused, or cancels them with `force`. Also raises ValueError, LedgerError,
    InventoryUnavailable: whether a booking is live is known only with Redis.
    """
    address, key = settings.database_address, email_key(email)
    async with _opened(address) as ledger, _box_office(settings, ledger) as office:
        account = await _existing(ledger, email)
        named, user_id = _named(account, address), account_user_id(account.id)
        live = await _live_events(office, ledger, user_id)
        if live and not force:
            raise Refused(f"{named} has live bookings of {len(live)} events; --force cancels them")
        await _cancel(office, user_id, live)
        await ledger.remove_account(key)
        booked_meanwhile = await _live_events(office, ledger, user_id)
        await _cancel(office, user_id, booked_meanwhile)
        cancelled = len({*live, *booked_meanwhile})
        return f"{named} is removed, its tokens are ended, and {cancelled} of its bookings are cancelled."


async def _live_events(office: BoxOffice, ledger: Ledger, user_id: str) -> list[int]:
    if not await ReadYourWrites(office, ledger).saved():
        raise Refused("the database does not have all bookings yet (see `booking doctor`); try again")
    return await ledger.live_events(user_id)


async def _cancel(office: BoxOffice, user_id: str, event_ids: list[int]) -> None:
    await asyncio.gather(*(office.cancel(event_id, user_id) for event_id in event_ids))


async def _existing(ledger: Ledger, email: str) -> Account:
    account = await ledger.find_account(email_key(email))
    if account is None:
        raise Refused(f"no account has the email {normalise_email(email)}; `booking user list` shows all")
    return account


async def _hash(password: str) -> str:
    passwords = Passwords(threads=1)
    try:
        return await passwords.hash(password)
    finally:
        passwords.close()


def _named(account: Account, address: str) -> str:
    return f"{account.email} ({account_user_id(account.id)} in {location_of(address)})"


@asynccontextmanager
async def _opened(address: str, *, may_be_new: bool = False) -> AsyncIterator[Ledger]:
    """The database, migrated. Raises ValueError if it is not the service's, unless it `may_be_new`."""
    if not may_be_new:
        await require_database(address)
    await migrate(address)
    ledger = Ledger.open(address)
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def _box_office(settings: Settings, ledger: Ledger) -> AsyncIterator[BoxOffice]:
    """The inventory, without a rate limit. Raises InventoryUnavailable."""
    records = await ledger.shards()
    async with opened_topology(settings.redis_address, len(records)) as topology:
        durability = await choose(topology, settings.ack, settings.ack_replicas)
        office = BoxOffice(
            PrimaryBatchers(
                topology, verified_connections(topology, Verifier(ledger), durability), settings.queue_limit
            ),
            [records[shard].epoch for shard in sorted(records)],
            None,
            0,
        )
        try:
            yield office
        finally:
            await office.close()
