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
    Index(None, "organizer_id"),
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

# Which process does what only one may do, until when by the database's clock.
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

# How far each consumer of the outbox has told of each event: a webhook's id, or `outbox.MAIL`.
outbox_cursors = Table(
    "outbox_cursors",
    metadata,
    Column("consumer", BigInteger, primary_key=True),
    Column("event_id", BigInteger, primary_key=True),
    # The last change that was told, or that its kind excludes.
    Column("seq", BigInteger, nullable=False),
    # Counts the replays. What is under way when one begins does not move the cursor any more.
    Column("replays", Integer, server_default="0", nullable=False),
    # How often in a row the next change could not be told, since when, and when it is tried again.
    Column("attempts", Integer, server_default="0", nullable=False),
    Column("failing_since_ms", BigInteger),
    Column("retry_at_ms", BigInteger),
    sqlite_with_rowid=False,
)

# The secrets are here as they are: each message is signed with them.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", _AssignedId, primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    # Separated by spaces.
    Column("kinds", Text, nullable=False),
    # Null: all events that the owner has created.
    Column("event_id", BigInteger),
    Column("description", Text, nullable=False),
    Column("secret", Text, nullable=False),
    # The secret before the last rotation, which signs, too, until then.
    Column("old_secret", Text),
    Column("old_secret_until_ms", BigInteger),
    # Null: it is enabled.
    Column("disabled_reason", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Index(None, "owner_id"),
    sqlite_autoincrement=True,
)

# The last attempts of each webhook. `place` numbers them modulo the number that is kept, failures and successes apart.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("webhook_id", BigInteger, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("message_id", Text, nullable=False),
    Column("event_id", BigInteger),
    Column("seq", BigInteger),
    Column("type", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    # Null: there was no answer; `error` says why.
    Column("status", Integer),
    Column("error", Text),
    # How the answer's body begins.
    Column("answer", Text),
    sqlite_with_rowid=False,
)

# Mails that wait to be sent, with times by the clock of the process that wrote them. A mail that was sent, or that is
# of no use any more, is deleted.
mails = Table(
    "mails",
    metadata,
    Column("id", _AssignedId, primary_key=True),
    # What the mail tells, and to which account, so that no account is told the same twice.
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    # The address is read when the mail is sent, so a removed account leaves none here. Null: `data` says to whom.
    Column("account_id", BigInteger),
    Column("event_id", BigInteger),
    Column("data", Text, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("attempts", SmallInteger, server_default="0", nullable=False),
    Index(None, "lane", "due_at_ms"),
)

# Changes of events that all who have a booking are told of, and up to which booking's number they have been.
mail_rounds = Table(
    "mail_rounds",
    metadata,
    Column("event_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("after_number", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
)

# Requests for a new password of the last hour, also for emails that no account has. The newest of an email counts.
password_resets = Table(
    "password_resets",
    metadata,
    Column("id", _AssignedId, primary_key=True),
    Column("email_key", Text, nullable=False),
    Column("token_hash", Text, nullable=False, unique=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Index(None, "email_key"),
    Index(None, "created_at_ms"),
)
