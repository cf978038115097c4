"""The progress bar is shown only on a terminal."""

from io import StringIO
from itertools import count

from rich.console import Console

from booking.loadtest.database import CaughtUp
from booking.loadtest.figures import Figures
from booking.loadtest.page import render_page
from booking.loadtest.records import Fault, Findings
from booking.loadtest.report import LiveProgress, print_report
from booking.loadtest.run import Outcome
from tests.loadtest.sale import PLAN, STARTED_AT
from tests.loadtest.test_figures import process_figures


def shown(*, terminal: bool) -> str:
    screen, seconds = StringIO(), count()
    console = Console(file=screen, force_terminal=terminal, width=120)
    with LiveProgress(console, {"selling": 1_000}, lambda: next(seconds)) as progress:
        progress.show("selling", 0, 100, [[2_000_000, 99], [9_000_000, 1]])
        progress.show("selling", 1, 300, [[2_000_000, 300]])
        progress._progress.refresh()
    return screen.getvalue()


def test_the_bar_shows_progress_and_speed() -> None:
    screen = shown(terminal=True)
    assert "selling" in screen
    assert "400/1000" in screen
    assert "p50 2.0 ms" in screen


def printed(findings: Findings, event: dict[str, int], caught_up: CaughtUp | None) -> str:
    figures = Figures()
    figures.add(process_figures(cpu=0.95, late_ms=2))
    paper = StringIO()
    outcome = Outcome(PLAN, figures, findings, event, 290, caught_up, "no database was named", STARTED_AT)
    print_report(Console(file=paper, width=120), outcome)
    return paper.getvalue()


def test_a_verdict_that_is_not_clean_gives_examples() -> None:
    findings = Findings()
    findings.add(Fault.LOST, "buyer-7 was given booking [9], and has none", count=3)
    text = printed(findings, {}, None)
    assert "verdict: NOT CLEAN (0 oversold, 0 double-booked, 3 lost," in text
    assert "lost: buyer-7 was given booking [9], and has none" in text
    assert "SQL was not judged: no database was named" in text
    findings.add(Fault.LOST, "buyer-8 was given <b>10</b>")
    page = render_page(Outcome(PLAN, Figures(), findings, {}, 290, None, "none & nowhere", STARTED_AT))
    assert "lost: buyer-8 was given &lt;b&gt;10&lt;/b&gt;" in page
    assert "none &amp; nowhere" in page


def test_a_clean_verdict_says_what_was_measured_and_with_which_generator() -> None:
    event = {"tickets_sold": 60, "available_tickets": 0, "waiting_list_count": 12}
    text = printed(Findings(), event, CaughtUp(True, 0.25, 99, 99))
    assert "290 of 300 buyers" in text
    assert "verdict: clean" in text
    assert "60 sold, 0 available, 12 waiting" in text
    assert "SQL had every change within 0.25 s of the end" in text
    assert "the generator's own lateness: p50 2.00 ms" in text
    assert "The load generator was the bottleneck, not the service: a load process used 95% of a core" in text


def test_sql_is_not_reported_equal_to_a_redis_that_could_not_be_read() -> None:
    text = printed(Findings(), {}, CaughtUp(False, 0.1, 12, None))
    assert "SQL had every change" not in text
    assert "SQL is at change 12; Redis could not be asked how far it is" in text


def test_the_report_says_what_it_waits_for_with_and_without_a_terminal() -> None:
    for terminal in (True, False):
        screen = StringIO()
        with LiveProgress(Console(file=screen, force_terminal=terminal, width=120), {}) as progress:
            progress.show_line("waiting up to 5 s for something")
        assert "waiting up to 5 s for something" in screen.getvalue()


def test_no_bar_is_drawn_without_a_terminal() -> None:
    assert shown(terminal=False) == ""
