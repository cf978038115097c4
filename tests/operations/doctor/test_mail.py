"""The doctor's checks of mail: the server, the links, the queue."""

from pathlib import Path

import pytest

from booking.domain.diagnosis import Finding, Verdict
from booking.ledger import Ledger, migrate
from booking.ledger.tables import mails
from booking.operations.doctor.mail import check_mail
from booking.settings import Settings
from tests.fixtures.mail_server import mail_server


def settings(folder: Path, url: str, **more: str) -> Settings:
    return Settings.read(
        {
            "BOOKING_DATA_DIR": str(folder),
            "BOOKING_SMTP_URL": url,
            "BOOKING_MAIL_FROM": "tickets@example.com",
            "BOOKING_PUBLIC_URL": "https://tickets.example.com",
            **more,
        }
    )


def verdicts(findings: list[Finding]) -> list[tuple[str, Verdict]]:
    return [(finding.name, finding.verdict) for finding in findings]


async def test_without_a_mail_server_none_is_checked(tmp_path: Path) -> None:
    (finding,) = await check_mail(Settings.read({"BOOKING_DATA_DIR": str(tmp_path)}))
    assert (finding.verdict, finding.found) == (Verdict.OK, "none is sent: BOOKING_SMTP_URL is not set")


async def test_a_mail_server_that_takes_mails_is_well_and_gets_none(tmp_path: Path) -> None:
    with mail_server() as server:
        findings = await check_mail(settings(tmp_path, server.url))
        assert server.asked == []
    assert verdicts(findings) == [("mail", Verdict.OK), ("links in mails", Verdict.OK)]


async def test_a_mail_server_that_is_away_is_a_fault(tmp_path: Path) -> None:
    fault, _ = await check_mail(settings(tmp_path, "smtp://hush:hush@127.0.0.1:1"))
    assert fault.verdict is Verdict.FAULT
    assert fault.found.startswith("127.0.0.1:1: ")
    assert "hush" not in str(fault)


@pytest.mark.parametrize("more", [{"BOOKING_PUBLIC_URL": "http://a.example"}, {"BOOKING_ROOT_PATH": "/tickets"}])
async def test_links_that_lead_elsewhere_or_have_no_tls_are_a_warning(tmp_path: Path, more: dict[str, str]) -> None:
    findings = await check_mail(settings(tmp_path, "smtp://127.0.0.1:1", **more))
    assert ("links in mails", Verdict.WARNING) in verdicts(findings)


async def test_mails_that_wait_for_long_are_a_warning(tmp_path: Path) -> None:
    checked = settings(tmp_path, "smtp://127.0.0.1:1")
    await migrate(checked.database_address)
    ledger = Ledger.open(checked.database_address)
    try:
        assert (await check_mail(checked))[-1] == Finding("queue of mails", Verdict.OK, "empty")
        await ledger.request_reset("a@example.org", "hash", "nonce")
        async with ledger.writing() as connection:
            await connection.execute(mails.update().values(due_at_ms=mails.c.due_at_ms - 600_000))
        late = (await check_mail(checked))[-1]
    finally:
        await ledger.close()
    assert (late.name, late.verdict) == ("queue of mails", Verdict.WARNING)
    assert late.found.startswith("1 to send, the oldest for 6")
