"""The consumers of the outbox, which the process starts beside each other."""

from collections.abc import Awaitable, Callable

from booking.outbox import mail, webhooks
from booking.outbox.context import Context

Consume = Callable[[Context], Awaitable[None]]
"""Tells what the ledger has, until `Context.stop` is set. Then it writes its cursors and returns within a few seconds.

It may raise LedgerError at any time: it is then called again a moment later. A change that it has told and not moved
its cursor past is told again. Cancelled if another process has the lease by now.
"""

CONSUMERS: dict[str, Consume] = {webhooks.NAME: webhooks.consume, mail.NAME: mail.consume}
"""By name, which is in the log."""
