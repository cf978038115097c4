"""Times as clients write and read them."""

import pytest

from booking.web.times import FIRST, LAST, from_text, to_text


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-11-22T21:30:00.125Z", 1_795_383_000_125),
        ("2026-11-22t21:30:00.125z", 1_795_383_000_125),
        ("2026-11-22 21:30:00.125Z", 1_795_383_000_125),
        ("2026-11-22T22:30:00.125+01:00", 1_795_383_000_125),
        ("2026-11-22T16:00:00.125-05:30", 1_795_383_000_125),
        ("2026-11-22T21:30:00.1Z", 1_795_383_000_100),
        ("2026-11-22T21:30:00.12Z", 1_795_383_000_120),
        ("2026-11-22T21:30:00.1259Z", 1_795_383_000_125),
        ("2026-11-22T21:30:00.125999999Z", 1_795_383_000_125),
        ("2024-02-29T00:00:00-00:00", 1_709_164_800_000),
        ("0001-01-01T00:00:00Z", FIRST),
        ("0001-01-01T01:00:00+01:00", FIRST),
        ("9999-12-31T23:59:59.999Z", LAST),
        ("9999-12-31T23:59:59.999999999Z", LAST),
        ("9999-12-31T22:59:59.999-01:00", LAST),
    ],
)
def test_a_time_in_any_offset_is_a_number_of_milliseconds(text: str, milliseconds: int) -> None:
    assert from_text(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-11-22", "2026-11-22T21:30:00", "2026-11-22T21:30Z", "20261122T213000Z",
        "2026-11-22T21:30:00.Z",
        "2026-11-22T21:30:00+0100", "2026-11-22T21:30:00+01", "+2026-11-22T21:30:00Z", "2026-11-22T21:30:00Z ",
        "2026-11-22T21:30:00,5Z", "2026-W47-7T21:30:00Z", "\uff12026-11-22T21:30:00Z",
        "2026-11-22T21:30:00.1234567890Z",
        "2026-11-22T21:30:00Z\n", "2026-11-22T21:30:00+01:60", "10000-01-01T00:00:00Z",
    ],
)  # fmt: skip
def test_a_time_that_is_not_rfc_3339_is_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match="has to be an RFC 3339 time"):
        from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "0000-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-22T25:00:00Z",
        "2026-11-22T21:60:00Z", "2026-11-22T21:30:60Z", "2026-11-22T21:30:00+24:00",
    ],
)  # fmt: skip
def test_a_time_that_does_not_exist_is_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time that exists"):
        from_text(text)


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59-23:59"]
)
def test_a_time_outside_of_the_calendar_is_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        from_text(text)


@pytest.mark.parametrize("milliseconds", [0, -1, 1, 999, 1_795_383_000_125, FIRST, FIRST + 1, LAST, LAST - 1])
def test_a_written_time_reads_back_the_same(milliseconds: int) -> None:
    text = to_text(milliseconds)
    assert len(text) == len("2026-11-22T21:30:00.125Z")
    assert from_text(text) == milliseconds
