"""The doctor says how many refunds wait for an organizer."""

from pathlib import Path

from booking.domain.outcomes import Status
from booking.ledger import refunds
from booking.operations.doctor.database import check_ledger
from booking.operations.doctor.refunds import check_refunds
from booking.settings import Settings
from tests.fixtures.backend import Backend


async def found(settings: Settings) -> str:
    _, database = await check_ledger(settings)
    (finding,) = await check_refunds(settings, database)
    assert (finding.verdict, finding.name) == ("ok", "refunds")
    return finding.found


async def test_the_refunds_that_are_due_are_counted(backend: Backend) -> None:
    office = backend.stock.office
    for event_id in (1, 2):
        await backend.stock.sale(event_id, capacity=1, hold_seconds=60)
        await office.book(event_id, "ann")
        await office.check_out(event_id, "ann", payment_id=f"payment-{event_id}")
        await office.cancel(event_id, "ann")
        await office.book(event_id, "bob")
        late = await office.confirm(event_id, "ann", payment_id=f"payment-{event_id}", late=True)
        assert late.status is Status.REFUND_DUE
    assert await found(backend.settings) == "none is due"
    await backend.drain()
    assert (await found(backend.settings)).startswith("2 due, at 2 events")
    await refunds.mark(backend.ledger, 1, "payment-1", 5, "boss")
    assert (await found(backend.settings)).startswith("1 due, at 1 event:")


async def test_before_the_first_start_there_is_nothing_to_count(tmp_path: Path) -> None:
    assert await check_refunds(Settings(data_dir=tmp_path), None) == []
