"""The tables. A column whose name ends in _ms is a time by Redis's clock, in milliseconds since 1970 in UTC."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, SmallInteger, Table, Text, false

# Every constraint has the same name on every database, so that a later migration can drop it.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

SKIPPED = "skipped"

# SQLite assigns ids only in a column of type INTEGER.
_AssignedId = BigInteger().with_variant(Integer(), "sqlite")

# How far each shard's stream is applied. The number of rows is the service's number of shards.
shards = Table(
    "shards",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Text, nullable=False),
    Column("cursor", Text, nullable=False),
    # Whether the bookings of accounts have the user id `account:<id>`; an older version used the bare id.
    Column("accounts_named", Boolean, server_default=false(), nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("max_per_user", Integer, nullable=False),
    Column("hold_seconds", Integer, nullable=False),
    Column("waitlist_limit", BigInteger),
    Column("opens_at_ms", BigInteger),
    Column("closes_at_ms", BigInteger),
    Column("paused", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    # The user id that created the event; null for an event that is older than this column.
    Column("organizer_id", Text),
    # The details as JSON (domain/details.py); null for an event that is older than this column.
    Column("details", Text),
)

# Every booking after its last change. Bookings and changes have no foreign keys to events: the writer updates
# events.seq in the same transaction and refuses an unknown event, so a check of each row would only take time.
bookings = Table(
    "bookings",
    metadata,
    Column("event_id", BigInteger, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("quantity", SmallInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    # The payment that was begun for it, or that it was booked for.
    Column("payment_id", Text),
    # For a user's bookings, read backwards from the newest.
    Index(None, "user_id", "created_at_ms", "event_id", "number"),
    # For an event's bookings of one status in order, and for the counts by status from the index alone.
    Index(None, "event_id", "status", "number", "quantity"),
    sqlite_with_rowid=False,
)

# Every change, append-only. A change of the event itself has `rules` (JSON), and its creation has the organizer's
# `user_id`, too. A change of a booking has all other columns.
changes = Table(
    "changes",
    metadata,
    Column("event_id", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("number", BigInteger),
    Column("user_id", Text),
    Column("quantity", SmallInteger),
    Column("status", Text),
    # SKIPPED for the change that `shards.skip_numbers` writes after numbers that it skips.
    Column("source", Text),
    Column("created_at_ms", BigInteger),
    Column("expires_at_ms", BigInteger),
    Column("rules", Text),
    # The user id that caused a change of a booking, if it is not the booking's own user; empty: the clock. Of a change
    # of the event: who made it. Null in the rows of versions before this column.
    Column("actor", Text),
    # What an organizer who cancelled a booking has said.
    Column("reason", Text),
    Column("payment_id", Text),
    # For a part that was given back: how many tickets. `quantity` is the rest.
    Column("given_back", SmallInteger),
    sqlite_with_rowid=False,
)

# Every payment that was begun, and what it came to: a booking or a refund, once and for all.
payments = Table(
    "payments",
    metadata,
    Column("event_id", BigInteger, primary_key=True),
    Column("payment_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    # The hold that it was begun for. If the payment came late, the booking that it came to has another number.
    Column("number", BigInteger, nullable=False),
    # The change that began it.
    Column("seq", BigInteger, nullable=False),
    # A PaymentOutcome; null while it is open.
    Column("outcome", Text),
    # The change with which it came to its outcome.
    Column("outcome_seq", BigInteger),
    Column("outcome_at_ms", BigInteger),
    # When, and by whom, a refund that is due was marked as done.
    Column("done_at_ms", BigInteger),
    Column("done_by", Text),
    # For what is remembered of each user, and for the refunds that are due.
    Index(None, "event_id", "user_id", "seq"),
    Index("ix_payments_outcome", "event_id", "outcome", "outcome_seq"),
    sqlite_with_rowid=False,
)

# What all nodes of the service have to agree on, by name.
service = Table(
    "service",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", _AssignedId, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    # An administrator is an organizer, too.
    Column("organizer", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("admin", Boolean, server_default=false(), nullable=False),
    # Tokens with an earlier `iat` (seconds) are not valid.
    Column("tokens_from", BigInteger, server_default="0", nullable=False),
    Index(None, "tokens_from"),
    sqlite_autoincrement=True,  # an id is never reused, not even after a deletion
)
