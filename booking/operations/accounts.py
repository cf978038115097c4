"""Accounts added from the command line."""

from booking.auth.emails import email_key, normalise_email
from booking.auth.passwords import Passwords
from booking.domain.callers import account_user_id
from booking.ledger.engine import location_of
from booking.ledger.errors import EmailTaken
from booking.ledger.inspection import inspect, is_there
from booking.ledger.ledger import Ledger
from booking.ledger.migrate import migrate


async def require_database(address: str) -> None:
    """Raises ValueError if the database has no tables of the service: it may be the wrong one. Raises LedgerError."""
    if not is_there(address) or (await inspect(address)).migration is None:
        raise ValueError(
            f"{location_of(address)} is not the service's database; name its folder (--data-dir) or its "
            "BOOKING_DATABASE_URL, or make a new one there with --create-database"
        )


async def add_account(address: str, email: str, password: str, *, organizer: bool) -> str:
    """Adds an account to the database at `address`, or sets the password of the one with this email.

    With `organizer` the account becomes an organizer; without it, an existing organizer stays one. Returns a sentence
    that says what was done. Raises ValueError for an invalid email, and LedgerError.
    """
    normalised, key = normalise_email(email), email_key(email)
    await migrate(address)
    passwords = Passwords(threads=1)
    ledger, place = Ledger.open(address), location_of(address)
    try:
        password_hash = await passwords.hash(password)
        try:
            account = await ledger.add_account(normalised, key, password_hash, organizer)
        except EmailTaken:
            changed = await ledger.change_account(key, password_hash=password_hash, organizer=organizer or None)
            if changed is None:
                raise
            role = "an organizer" if changed.organizer else "a user"
            user = account_user_id(changed.id)
            return f"{normalised} was in {place} already (user {user}): its password is changed, and it is {role}."
        role = "an organizer" if account.organizer else "a user"
        return f"{normalised} is added to {place} (user {account_user_id(account.id)}), as {role}."
    finally:
        await ledger.close()
        passwords.close()
