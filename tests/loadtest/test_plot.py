"""The latency picture: what is drawn stands where its figures say."""

import re
from xml.etree import ElementTree as ET

import pytest

from booking.loadtest.histogram import Histogram
from booking.loadtest.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curve, draw, share_text


def curve(label: str, *latencies_ms: float) -> Curve:
    histogram = Histogram()
    for latency_ms in latencies_ms:
        histogram.record(int(latency_ms * 1e6))
    return Curve(label, "call-0", histogram)


def drawn(*calls: Curve, beside: tuple[Curve, ...] = ()) -> ET.Element:
    """The picture, read back; XML is stricter than HTML."""
    return ET.fromstring(draw(calls, beside))


def line(picture: ET.Element, number: int = 0) -> list[tuple[float, float]]:
    """The points of one curve."""
    points = picture.findall(".//polyline")[number].attrib["points"]
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]


def dots(picture: ET.Element) -> dict[str, tuple[float, float]]:
    """Where the dots are, by what they say."""
    return {
        str(dot.findtext("title")): (float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in picture.iter("circle")
    }


def ticks(picture: ET.Element) -> list[str]:
    return [str(text.text) for text in picture.iter("text") if text.attrib["class"] == "tick"]


THOUSAND = curve("book", *(1 + number / 10 for number in range(1_000)))


def test_a_tenth_of_what_is_left_is_always_the_same_way_to_the_right() -> None:
    at = dots(drawn(THOUSAND))
    x = {said.split(" within")[0]: place[0] for said, place in at.items()}
    decade = (WIDTH - LEFT - RIGHT) / 3
    assert x["book: 90 %"] == pytest.approx(LEFT + decade, abs=0.1)
    assert x["book: 99 %"] == pytest.approx(LEFT + 2 * decade, abs=0.1)
    assert x["book: all 1,000"] == pytest.approx(WIDTH - RIGHT, abs=0.1)
    assert "book: 99.99 %" not in x, "a thousand answers say nothing about one in ten thousand"


def test_a_line_runs_from_the_quickest_answer_to_the_slowest_through_every_dot() -> None:
    picture = drawn(THOUSAND)
    points = line(picture)
    assert points == sorted(points, key=lambda point: (point[0], -point[1])), "to the right and up, never back"
    assert points[0][0] == LEFT
    assert set(dots(picture).values()) <= set(points)


def test_twice_the_milliseconds_are_twice_as_high() -> None:
    picture = drawn(curve("quick", *[20.0] * 10), curve("slow", *[40.0] * 10))
    low, high = line(picture, 0), line(picture, 1)
    ground = HEIGHT - BOTTOM
    assert ground - high[0][1] == pytest.approx(2 * (ground - low[0][1]), rel=0.01)
    assert "40" in ticks(picture)


def test_one_very_slow_answer_does_not_press_all_others_to_the_ground() -> None:
    picture = drawn(curve("book", *[10.0] * 99, 5_000.0))
    ys = [y for _, y in line(picture)]
    assert HEIGHT - BOTTOM - ys[0] > 10
    assert min(ys) >= TOP
    assert {"10", "100", "1,000"} <= set(ticks(picture))
    assert "log scale" in ET.tostring(picture, "unicode")


def test_what_is_drawn_beside_the_calls_leaves_their_scale_alone() -> None:
    lateness = curve("lateness", *[0.001] * 10)
    assert ticks(drawn(THOUSAND)) == ticks(drawn(THOUSAND, beside=(lateness,)))


@pytest.mark.parametrize("latencies_ms", [(0.0,), (3.0,), (1e9,), (0.0, 1e6), (0.5, 0.6)])
def test_the_oddest_run_is_drawn_inside_the_frame(latencies_ms: tuple[float, ...]) -> None:
    picture = drawn(curve("book", *latencies_ms))
    for x, y in line(picture):
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT - BOTTOM
    labels = ticks(picture)
    assert len(labels) == len(set(labels)) > 3
    assert not re.search("nan|inf", ET.tostring(picture, "unicode"))


def test_a_label_is_text_and_nothing_else() -> None:
    assert set(dots(drawn(curve("<b>&", 1.0)))) == {"<b>&: all 1 within 1.00 ms"}


def test_a_share_has_as_many_nines_as_it_has() -> None:
    assert [share_text(share) for share in (0, 0.5, 0.9, 1 - 10.0**-3, 1 - 10.0**-6)] == [
        *("0 %", "50 %", "90 %", "99.9 %", "99.9999 %")
    ]
