"""The command `booking`: registers what is written in `commands/`, and sees to it that it ends without a traceback."""

import sys
from collections.abc import Callable
from importlib.metadata import version as version_of
from inspect import getdoc
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from booking.cli.accounts import add_user, token
from booking.cli.invocation import EXIT_CODES, EXIT_NOBODY_READS, EXIT_STOPPED
from booking.cli.operations import audit, doctor, restore
from booking.cli.schema import openapi
from booking.cli.server import migrate, persist, serve

RUNNING, LOOKING, TRYING = "Run it", "Look after it", "Let people in, and try it out"
LOADTEST = "loadtest"


class Commands(TyperGroup):
    """All of them; the load test is read only where it is meant or listed, so that the others stay quick."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One command by its name."""
        if self.commands.keys().isdisjoint((cmd_name, LOADTEST)):
            from booking.loadtest.command import loadtest

            alone = typer.Typer(add_completion=False)
            alone.command(LOADTEST, rich_help_panel=TRYING, help=unwrapped(loadtest))(loadtest)
            self.add_command(get_command(alone), LOADTEST)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Every name, for the help and for a shell that completes one."""
        self.get_command(ctx, LOADTEST)
        return super().list_commands(ctx)

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Runs all of it. A reader that has gone ends it with the same code whoever of click, rich and us sees it."""
        try:
            try:
                return super().main(*arguments, **options)
            finally:
                sys.stdout.flush()  # here, where somebody listens, and not when the interpreter ends
        except SystemExit as end:
            if not isinstance(end.__context__, BrokenPipeError):
                raise
        except BrokenPipeError:
            pass
        from booking.logs import close_quietly  # here alone, so that commands stay quick

        close_quietly(sys.stdout)
        sys.exit(EXIT_NOBODY_READS)

    def invoke(self, ctx: Any) -> Any:
        """Runs a command. Ctrl-C ends it with a code of its own, and quietly."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("booking: stopped", file=sys.stderr)
            sys.exit(EXIT_STOPPED)


app = typer.Typer(
    name="booking", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
)
user = typer.Typer(no_args_is_help=True, help="The service's own accounts: `booking user add`.")


def unwrapped(command: Callable[..., None]) -> str:
    """A command's docstring as its help: a terminal breaks the lines of a paragraph where it ends, and no example's."""
    paragraphs = (getdoc(command) or "").split("\n\n")
    return "\n\n".join(text if text.startswith(" ") else " ".join(text.split("\n")) for text in paragraphs)


user.command("add", help=unwrapped(add_user))(add_user)
app.add_typer(user, name="user", rich_help_panel=TRYING)
for panel, commands in (
    (RUNNING, (serve, migrate, persist)),
    (LOOKING, (doctor, audit, restore)),
    (TRYING, (token, openapi)),
):
    for command in commands:
        app.command(rich_help_panel=panel, help=unwrapped(command))(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"booking {version_of('booking')}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def booking(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Sells tickets in a flash sale: atomic stock in Redis, every change in SQL exactly once.

    Settings come from the environment (BOOKING_HOST, …); an option outranks its variable. To begin with:

        booking serve                                 start everything (port 8000)
        booking doctor                                what is wrong with it
        booking token --user 1 --role organizer       a token for making events
        booking user add ann@example.com --organizer  an account that may do so
        booking loadtest                              a flash sale against it

    `booking COMMAND --help` tells about each; `booking --install-completion` has your shell complete them.
    """


def main() -> None:
    """The entry point."""
    app(prog_name="booking")
