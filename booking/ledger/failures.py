"""Translates the errors of the database and its drivers into the ledger's own errors, without secrets."""

import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from booking.ledger.errors import LedgerError, LedgerUnavailable

_NOT_MIGRATED = "the tables are missing or old; run booking migrate"

# Classes and codes of SQLSTATE (PostgreSQL's manual, appendix A) that the server or its operator can resolve. Every
# other code is a bug in this service.
_PASSING = {
    "08": "the connection broke",
    "28P01": "the server refused the password",
    "0A": "the server does not support it",
    "25006": "the server is read-only",
    "28": "the server does not admit this user from this address, or not without TLS (see its pg_hba.conf)",
    "3D": "there is no such database",
    "3F": "there is no such schema",
    "40": "the server undid the transaction",
    "42501": "the role may not do this: it needs CREATE on the schema to migrate, and the tables to serve (GRANT)",
    "42P01": _NOT_MIGRATED,
    "42703": _NOT_MIGRATED,
    "53": "the server is short of connections, memory or disk",
    "53300": "the server has no connection left: lower BOOKING_DATABASE_POOL, or use pgbouncer",
    "55": "another transaction holds a lock",
    "57": "the server is starting, stopping or cancelled the statement",
    "58": "the server's system failed",
}


_WRONG_HOST = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class DuplicateRow(LedgerError):
    """A row with this key exists already. The caller knows what that means."""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turns an error of the driver into LedgerUnavailable if it may be temporary, else into LedgerError.

    The original error is not chained: its text holds the query, and PostgreSQL's details hold values.
    """
    try:
        yield
    except (IntegrityError, asyncpg.IntegrityConstraintViolationError):
        raise DuplicateRow("a row is there already") from None
    except DBAPIError as error:
        raise _translated(error.orig or error) from None
    except PoolTimeoutError:
        raise LedgerUnavailable("every connection is in use") from None
    except SQLAlchemyError as error:
        raise LedgerError(f"the database layer failed ({type(error).__name__})") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise _translated(error) from None  # SQLAlchemy does not wrap every error of connecting


def _translated(error: BaseException) -> LedgerError:
    if isinstance(error, sqlite3.OperationalError):
        # SQLite's messages hold no value: "database is locked", "database or disk is full", "no such table: users".
        message = str(error)
        if message.startswith(("no such table", "no such column")):
            message += f": {_NOT_MIGRATED}"
        return LedgerUnavailable(message)
    if isinstance(error, sqlite3.DatabaseError) and type(error) is sqlite3.DatabaseError:
        return LedgerUnavailable(str(error))  # "file is not a database", "database disk image is malformed"
    state = getattr(error, "sqlstate", None)
    if state:
        reason = _PASSING.get(state) or _PASSING.get(state[:2])
        if reason is not None:
            return LedgerUnavailable(f"{reason} (SQLSTATE {state})")
        return LedgerError(f"the database refused a statement (SQLSTATE {state})")
    cause = error.__cause__
    if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
        return LedgerUnavailable("the server did not answer in time")
    for one in (error, cause):
        if isinstance(one, OSError):
            return LedgerUnavailable(_of_network(one))
    if isinstance(cause or error, asyncpg.InterfaceError | asyncpg.ConnectionDoesNotExistError):
        return LedgerUnavailable("the connection broke")
    return LedgerError(f"the database refused a statement ({type(error).__name__})")


def _of_network(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _WRONG_HOST:
            return "the server's certificate is for another host than the URL names (sslmode=verify-full compares them)"
        return f"the server's certificate is not trusted ({error.verify_message}): name its CA's file with sslrootcert"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason})"
    if "rejected SSL upgrade" in str(error):  # asyncpg has no type for it
        return "the server offers no TLS, which sslmode asks for"
    return f"the server can't be reached ({error.strerror or type(error).__name__})"
