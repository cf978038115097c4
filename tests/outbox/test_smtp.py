"""What becomes of a mail at a real mail server: taken, refused, deferred; a server that is away or stands still."""

from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from booking.outbox.smtp import Deferred, MailServer, Refused, ServerAway
from tests.fixtures import mail_server as fake
from tests.fixtures.mail_server import HANGS_UP, STANDS_STILL, mail_server
from tests.fixtures.tls import make_authority

SENDER = "Tickets <tickets@example.com>"
READER = "ann@example.com"


@pytest.fixture
def server() -> Iterator[fake.MailServer]:
    with mail_server() as running:
        yield running


def message(to: str = READER, subject: str = "Hello") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = SENDER, to, subject
    made.set_content("Text.")
    return made


async def send(url: str, to: str = READER, seconds: float = 30.0) -> None:
    """Sends one mail over a connection of its own."""
    sender = MailServer(url, SENDER, connect_seconds=seconds, answer_seconds=seconds)
    async with sender.connected() as connection:
        await connection.send(message(to), to)


async def test_many_mails_go_over_one_connection(server: fake.MailServer) -> None:
    async with MailServer(server.url, SENDER).connected() as connection:
        for number in range(3):
            await connection.send(message(subject=f"No. {number}"), READER)
            assert connection.is_usable
    assert [one["Subject"] for one in server.to(READER)] == ["No. 0", "No. 1", "No. 2"]
    assert server.connections == 1


async def test_an_address_in_any_script_is_told_as_it_is(server: fake.MailServer) -> None:
    await send(server.url, "añn@exämple.com")
    assert len(server.to("añn@exämple.com")) == 1


@pytest.mark.parametrize("answer", ["450 4.2.1 <ann@example.com> is busy", "451 try later"])
@pytest.mark.parametrize("stage", ["on_recipient", "on_data"])
async def test_a_4xx_defers_the_mail_and_the_connection_goes_on(
    server: fake.MailServer, stage: str, answer: str
) -> None:
    setattr(server, stage, lambda address: answer if address == READER else fake.TAKEN)
    async with MailServer(server.url, SENDER).connected() as connection:
        with pytest.raises(Deferred) as caught:
            await connection.send(message(), READER)
        assert str(caught.value) == f"it answered {answer[:9] if '4.2.1' in answer else answer[:3]}"
        await connection.send(message("bob@example.com"), "bob@example.com")
    assert len(server.to("bob@example.com")) == 1


@pytest.mark.parametrize("stage", ["on_recipient", "on_data"])
async def test_a_5xx_refuses_the_mail_and_its_reason_names_no_address(server: fake.MailServer, stage: str) -> None:
    setattr(server, stage, lambda address: f"550 5.1.1 <{address}>: no such user" if address == READER else fake.TAKEN)
    async with MailServer(server.url, SENDER).connected() as connection:
        with pytest.raises(Refused) as caught:
            await connection.send(message(), READER)
        assert str(caught.value) == "it answered 550 5.1.1"
        await connection.send(message("bob@example.com"), "bob@example.com")


@pytest.mark.parametrize("answer", [STANDS_STILL, HANGS_UP])
@pytest.mark.parametrize("stage", ["on_recipient", "on_data"])
async def test_a_server_that_stands_still_or_hangs_up_defers_the_mail_and_is_left(
    server: fake.MailServer, stage: str, answer: str
) -> None:
    setattr(server, stage, lambda _: answer)
    async with MailServer(server.url, SENDER, answer_seconds=0.2).connected() as connection:
        with pytest.raises(Deferred):
            await connection.send(message(), READER)
        assert not connection.is_usable


async def test_a_server_that_is_away_or_says_nothing_is_told_apart_from_a_refusal() -> None:
    with pytest.raises(ServerAway, match=r"^127\.0\.0\.1:1: "):
        await send("smtp://127.0.0.1:1")
    with mail_server() as server:
        tls_is_expected = server.url.replace("smtp:", "smtps:")
        with pytest.raises(ServerAway):
            await send(tls_is_expected, seconds=1.0)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_a_user_logs_in_and_a_wrong_password_is_no_refusal_of_a_mail() -> None:
    with mail_server(user=("shop", "p@ss:word")) as server:
        await send(server.url.replace("//", "//shop:p%40ss%3Aword@"))
        assert len(server.to(READER)) == 1
        for login in ("", "shop:wrong@"):
            with pytest.raises((ServerAway, Refused)) as caught:
                await send(server.url.replace("//", f"//{login}"))
            assert "wrong" not in str(caught.value)
            assert isinstance(caught.value, ServerAway)
        assert len(server.taken) == 1


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_a_certificate_has_to_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    authority = make_authority(tmp_path, "localhost")
    tls, starttls = (authority.server, None) if scheme == "smtps" else (None, authority.server)
    with mail_server(tls=tls, starttls=starttls) as server:
        url = f"{scheme}://localhost:{server.port}"
        with pytest.raises(ServerAway, match="TLS failed"):
            await send(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        await send(url)
        assert len(server.to(READER)) == 1
        with pytest.raises(ServerAway, match="TLS failed"):
            await send(url.replace("localhost", "127.0.0.1"))


async def test_starttls_is_never_left_out(server: fake.MailServer) -> None:
    with pytest.raises(ServerAway):
        await send(server.url.replace("smtp:", "smtp+starttls:"))
    assert server.taken == []


@pytest.mark.parametrize(
    ("url", "in_clear"),
    [("smtp://a:b@mail.example.com", True), ("smtp://a:b@127.0.0.1", False), ("smtp://mail.example.com", False),
     ("smtps://a:b@mail.example.com", False), ("smtp+starttls://a:b@mail.example.com", False)],
)  # fmt: skip
def test_a_password_in_clear_is_noticed(url: str, in_clear: bool) -> None:
    assert MailServer(url, SENDER).sends_password_in_clear is in_clear
