"""Authentication by the Authorization header."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from threading import BoundedSemaphore
from typing import Any

import pytest
from argon2 import PasswordHasher

from booking.auth import emails
from booking.auth.emails import EMAIL_CHARACTERS_MAX, email_key, normalise_email
from booking.auth.key_set import KeySetUnavailable
from booking.auth.passwords import Passwords, TooBusy
from booking.auth.tokens import TokenVerifier, sign_token
from booking.domain.accounts import Account
from booking.domain.callers import Caller
from booking.web.authentication import (
    BASIC_CHALLENGE,
    BEARER_CHALLENGE,
    CACHE_SECONDS,
    Credentials,
    Unauthenticated,
)

SECRET = b"the secret of these tests, of more than 32 bytes"
EMAIL = "Zoe@Example.com"
PASSWORD = "right:pässword"


def scope(*authorization: str | bytes) -> dict[str, Any]:
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    headers += [(b"authorization", value.encode() if isinstance(value, str) else value) for value in authorization]
    return {"type": "http", "headers": headers}


def basic(email: str, password: str, scheme: str = "Basic") -> dict[str, Any]:
    return scope(f"{scheme} {b64encode(f'{email}:{password}'.encode()).decode()}")


class Setup:
    """The real authentication with accounts in a dictionary, a settable clock, and a count of password checks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.accounts: dict[str, Account] = {}
        self.asked: list[str] = []
        self.checks = 0
        self.passwords = Passwords(2)
        self.credentials = Credentials(TokenVerifier(SECRET), self.passwords, self.find, clock=lambda: self.now)
        really = PasswordHasher.verify

        def verify(hasher: PasswordHasher, password_hash: str, password: str) -> bool:
            self.checks += 1
            return really(hasher, password_hash, password)

        monkeypatch.setattr(PasswordHasher, "verify", verify)

    async def find(self, key: str) -> Account | None:
        self.asked.append(key)
        return self.accounts.get(key)

    async def register(self, *, organizer: bool = False) -> None:
        kept = await self.passwords.hash(PASSWORD)
        self.accounts[email_key(EMAIL)] = Account(17, EMAIL, kept, organizer)

    async def refusal(self, request: dict[str, Any]) -> Unauthenticated:
        with pytest.raises(Unauthenticated) as caught:
            await self.credentials.caller(request)
        return caught.value


@pytest.fixture
async def setup(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    made = Setup(monkeypatch)
    await made.register()
    yield made
    made.passwords.close()


# Tokens


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
async def test_a_token_identifies_the_caller_without_waiting(setup: Setup, scheme: str) -> None:
    request = scope(f"{scheme} {sign_token(SECRET, '18', 'organizer', 60)}")
    assert setup.credentials.caller_now(request) == Caller("18", organizer=True)
    assert await setup.credentials.caller(request) == Caller("18", organizer=True)


async def test_a_bad_token_is_refused_with_its_reason_and_not_offered_a_password(setup: Setup) -> None:
    request = scope(f"Bearer {sign_token(SECRET, '18', None, -60)}")
    with pytest.raises(Unauthenticated) as caught:
        setup.credentials.caller_now(request)
    for refusal in (caught.value, await setup.refusal(request)):
        assert refusal.detail == "The token has expired."
        assert refusal.challenges == (
            'Bearer realm="booking", error="invalid_token", error_description="The token has expired."',
        )


async def test_a_token_is_not_called_invalid_if_its_provider_is_away(setup: Setup) -> None:
    # Nothing listens on port 1 of the loopback.
    verifier = TokenVerifier(SECRET, jwks_url="http://127.0.0.1:1/keys")
    credentials = Credentials(verifier, setup.passwords, setup.find)
    header = b64encode(b'{"alg":"ES256","kid":"k"}').rstrip(b"=").decode()
    request = scope(f"Bearer {header}.e30.AAAA")
    assert credentials.caller_now(request) is None
    with pytest.raises(KeySetUnavailable):
        await credentials.caller(request)
    with pytest.raises(KeySetUnavailable):
        credentials.caller_now(request)


# Passwords


@pytest.mark.parametrize("email", [EMAIL, "zoe@example.com", "ZOE@EXAMPLE.COM"])
@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
async def test_a_password_identifies_the_caller_whatever_the_emails_case(setup: Setup, email: str, scheme: str) -> None:
    request = basic(email, PASSWORD, scheme)
    assert setup.credentials.caller_now(request) is None
    assert await setup.credentials.caller(request) == Caller("account:17", organizer=False)
    assert setup.asked == ["zoe@example.com"]


async def test_a_password_that_was_right_is_remembered_for_a_minute(setup: Setup) -> None:
    request = basic(EMAIL, PASSWORD)
    await setup.credentials.caller(request)
    setup.now += CACHE_SECONDS - 1
    assert setup.credentials.caller_now(request) == Caller("account:17", organizer=False)
    assert await setup.credentials.caller(request) == Caller("account:17", organizer=False)
    assert setup.checks == 1
    setup.now += 1
    assert setup.credentials.caller_now(request) is None
    await setup.credentials.caller(request)
    assert setup.checks == 2


async def test_a_password_that_was_wrong_is_never_remembered(setup: Setup) -> None:
    await setup.credentials.caller(basic(EMAIL, PASSWORD))
    for wrong in (basic(EMAIL, "wrong"), basic(EMAIL, PASSWORD + " "), basic("other@example.com", PASSWORD)):
        for _ in range(2):
            assert setup.credentials.caller_now(wrong) is None
            assert (await setup.refusal(wrong)).detail == "The email or the password is wrong."
    assert setup.checks == 1 + 2 + 4 * 2, "a wrong password is checked in each of its two forms"


async def test_what_is_cache_holds_no_password(setup: Setup) -> None:
    await setup.credentials.caller(basic(EMAIL, PASSWORD))
    kept = repr(setup.credentials._cache)
    assert "right" not in kept
    assert b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode() not in kept


async def test_the_least_recently_used_password_is_evicted(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.web.authentication.CACHE_MAX", 2)
    kept = setup.accounts[email_key(EMAIL)].password_hash
    requests = []
    for number in range(3):
        email = f"user{number}@example.com"
        setup.accounts[email] = Account(number, email, kept, organizer=False)
        requests.append(basic(email, PASSWORD))
    await setup.credentials.caller(requests[0])
    await setup.credentials.caller(requests[1])
    await setup.credentials.caller(requests[0])
    await setup.credentials.caller(requests[2])
    assert [setup.credentials.caller_now(request) is not None for request in requests] == [True, False, True]


async def test_a_fresh_read_sees_a_new_role_and_a_new_password(setup: Setup) -> None:
    request = basic(EMAIL, PASSWORD)
    assert await setup.credentials.caller(request) == Caller("account:17", organizer=False)
    await setup.register(organizer=True)
    assert setup.credentials.caller_now(request) == Caller("account:17", organizer=False)
    assert await setup.credentials.caller(request, recheck=True) == Caller("account:17", organizer=True)
    assert setup.credentials.caller_now(request) == Caller("account:17", organizer=True)
    setup.accounts.clear()
    with pytest.raises(Unauthenticated):
        await setup.credentials.caller(request, recheck=True)
    assert setup.credentials.caller_now(request) is None


@pytest.mark.parametrize("recheck", [False, True])
async def test_credentials_are_as_old_as_the_reading_of_the_account(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, recheck: bool
) -> None:
    request = basic(EMAIL, PASSWORD)
    if recheck:
        await setup.credentials.caller(request)
    now = [5_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    find = setup.find

    async def find_slowly(key: str) -> Account | None:
        account = await find(key)
        now[0] += 3  # meanwhile the account is changed, which ends all credentials of before 5,002
        return account

    monkeypatch.setattr(setup.credentials, "_find_account", find_slowly)
    assert (await setup.credentials.caller(request, recheck=recheck)).issued_at == 5_000


async def test_an_unknown_email_and_a_wrong_password_cost_the_same_work(setup: Setup) -> None:
    for email in (EMAIL, "nobody@example.com", "not an email", "a@b", ""):
        before = setup.checks
        assert await setup.credentials.account(email, "wrong password", "192.0.2.1") is None
        assert setup.checks == before + 1
        before = setup.checks
        assert (await setup.refusal(basic(email, "wrong password"))).challenges == (BASIC_CHALLENGE,)
        assert setup.checks == before + 1


async def test_only_valid_emails_are_looked_up(setup: Setup) -> None:
    for email in ("not an email", "a\0b@example.com", "x" * 5000 + "@example.com", "\ud800@example.com"):
        assert await setup.credentials.account(email, "password", "192.0.2.1") is None
    assert setup.asked == []


async def test_a_login_gets_the_account_for_its_own_password(setup: Setup) -> None:
    assert (
        await setup.credentials.account("ZOE@example.com", PASSWORD, "192.0.2.1") == setup.accounts["zoe@example.com"]
    )


async def test_a_burst_of_one_users_calls_checks_the_password_once(setup: Setup) -> None:
    request = basic(EMAIL, PASSWORD)
    callers = await asyncio.gather(*(setup.credentials.caller(request) for _ in range(20)))
    assert callers == [Caller("account:17", organizer=False)] * 20
    assert setup.checks == 1


async def test_a_caller_who_leaves_does_not_end_the_check_for_others(setup: Setup) -> None:
    request = basic(EMAIL, PASSWORD)
    calls = [asyncio.create_task(setup.credentials.caller(request)) for _ in range(3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    assert await asyncio.gather(*calls[1:]) == [Caller("account:17", organizer=False)] * 2
    with pytest.raises(asyncio.CancelledError):
        await calls[0]
    assert setup.checks == 1


async def test_a_check_that_is_ended_ends_the_wait_for_it(setup: Setup) -> None:
    call = asyncio.create_task(setup.credentials.caller(basic(EMAIL, PASSWORD)))
    await asyncio.sleep(0)
    for check in setup.credentials._checking.values():
        check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not setup.credentials._checking


async def test_a_full_queue_and_a_database_that_fails_are_not_wrong_passwords(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: str) -> Account | None:
        raise ConnectionError

    request = basic(EMAIL, PASSWORD)
    with pytest.raises(ConnectionError):
        await Credentials(TokenVerifier(SECRET), setup.passwords, broken).caller(request)
    monkeypatch.setattr(setup.passwords, "_slots", BoundedSemaphore(3))
    crowd = [setup.credentials.caller(basic(f"u{number}@example.com", "x")) for number in range(10)]
    results = await asyncio.gather(*crowd, return_exceptions=True)
    assert {type(result) for result in results} == {TooBusy, Unauthenticated}
    assert await setup.credentials.caller(request) == Caller("account:17", organizer=False)


# Neither


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"!!!",
        b"YQ",
        b"\xff\xfe",
        b64encode(b"no colon"),
        b64encode(b"\xff:\xfe"),
        b64encode(b"a\0b:password"),
        b64encode(b"a@example.com:pass\0word"),
        b64encode(b"a@example.com:password").rstrip(b"=") + b"\n==",
        b64encode(b"\xed\xa0\x80@example.com:password"),
        b64encode(b"a@example.com:" + b"x" * 10_000),
    ],
)
async def test_a_password_that_cannot_be_read_is_refused_without_a_check(setup: Setup, encoded: bytes) -> None:
    refusal = await setup.refusal(scope(b"Basic " + encoded))
    assert refusal.challenges == (BASIC_CHALLENGE,)
    assert setup.checks == 0


@pytest.mark.parametrize("authorization", [b"", b"Token abc", b"abc", b"Negotiate x", b"Bearerx", b"\xff\xfe"])
async def test_another_scheme_is_refused_and_both_are_offered(setup: Setup, authorization: bytes) -> None:
    assert (await setup.refusal(scope(authorization))).challenges == (BEARER_CHALLENGE, BASIC_CHALLENGE)


@pytest.mark.parametrize("authorization", [b"Bearer", b"Bearer ", b"Bearer \xff", b"Bearer a b", b"Bearer Bearer x"])
async def test_a_malformed_token_is_refused(setup: Setup, authorization: bytes) -> None:
    assert (await setup.refusal(scope(authorization))).detail == "The token is malformed."


async def test_no_credentials_are_refused_and_both_are_offered(setup: Setup) -> None:
    with pytest.raises(Unauthenticated) as caught:
        setup.credentials.caller_now(scope())
    assert caught.value.challenges == (BEARER_CHALLENGE, BASIC_CHALLENGE)


async def test_without_accounts_a_password_is_refused_unread_and_only_a_token_is_asked_for(setup: Setup) -> None:
    bearer_only = Credentials(TokenVerifier(SECRET), setup.passwords, None)
    for request in (scope(), basic(EMAIL, PASSWORD), scope("Basic x")):
        with pytest.raises(Unauthenticated) as caught:
            await bearer_only.caller(request)
        assert caught.value.challenges == (BEARER_CHALLENGE,)
        assert "password" not in caught.value.detail
    token = f"Bearer {sign_token(SECRET, '18', None, 60)}"
    assert await bearer_only.caller(scope(token)) == Caller("18", organizer=False)
    assert setup.checks == 0


async def test_two_headers_are_refused_even_if_each_is_right(setup: Setup) -> None:
    token = f"Bearer {sign_token(SECRET, '18', None, 60)}"
    assert (await setup.refusal(scope(token, token))).detail == "There is more than one Authorization header."
    with pytest.raises(Unauthenticated):
        setup.credentials.caller_now(scope(token, b"Basic x"))


# Emails


@pytest.mark.parametrize(
    ("text", "kept", "key"),
    [
        ("a@example.com", "a@example.com", "a@example.com"),
        ("Zoe@EXAMPLE.com", "Zoe@example.com", "zoe@example.com"),
        ("Zoe\u0308@example.com", "Zo\u00eb@example.com", "zo\u00eb@example.com"),
        ("a@xn--exmple-cua.com", "a@ex\u00e4mple.com", "a@ex\u00e4mple.com"),
    ],
)
def test_an_email_is_stored_as_written_and_found_in_any_case(text: str, kept: str, key: str) -> None:
    assert normalise_email(text) == kept
    assert email_key(text) == key
    assert email_key(kept) == email_key(key) == key


@pytest.mark.parametrize(
    "text", ["", "a", "a@", "@example.com", "a@b", "a@@example.com", " a@example.com", "a\0@example.com",
             "\ud800@example.com", "a@\ud800.com", "a@example.com\n",
             "x" * 20_000 + "@example.com", "a@" + "x." * 9000 + "com"]
)  # fmt: skip
def test_an_invalid_email_is_refused_with_an_explanation(text: str) -> None:
    for read in (normalise_email, email_key):
        with pytest.raises(ValueError, match=r"^[A-Z].*\.$") as caught:
            read(text)
        assert len(str(caught.value)) < 200


async def test_a_text_too_long_for_an_address_is_not_even_parsed(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing 16 KB of blanks would block the event loop for 50 ms, and any client may send them."""

    def parse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(emails, "validate_email", parse)
    for text in (" " * 16_000 + EMAIL, "x" * EMAIL_CHARACTERS_MAX + "@"):
        assert await setup.credentials.account(text, PASSWORD, "192.0.2.1") is None
        with pytest.raises(ValueError, match="too long"):
            normalise_email(text)


def test_an_address_of_the_greatest_length_is_one() -> None:
    longest = "x" * 64 + "@" + ".".join(["y" * 61] * 3) + ".de"
    assert len(longest) == 253
    assert normalise_email(longest) == longest
