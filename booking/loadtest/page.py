"""The page of `--html`: the report of the terminal, and the command that repeats the sale, in one file."""

import io
from shlex import join

from rich.console import Console

from booking.loadtest.report import print_report
from booking.loadtest.run import Outcome, machine

PAGE_COLUMNS = 120

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Load test</title>
<style>body {{ color: {foreground}; background: {background}; }} pre {{ white-space: pre-wrap; }}</style></head>
<body><pre>{code}</pre></body></html>
"""
"""A shorter form of Rich's own page template."""


def render_page(outcome: Outcome) -> str:
    """The whole page, as HTML with inline styles."""
    console = Console(record=True, width=PAGE_COLUMNS, file=io.StringIO(), force_terminal=True)
    plan, where = outcome.plan, machine()
    print_report(console, outcome)
    for line in (
        "",
        f"began at {outcome.started_at:%Y-%m-%d %H:%M:%S} UTC, against {plan.url}",
        f"load made by {where['system']}, {where['cores']} cores, Python {where['python']}",
        f"the same sale again: {join(['booking', 'loadtest', *plan.arguments])}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return console.export_html(inline_styles=True, code_format=PAGE)
