"""The command `booking`: registers all commands, and makes sure that they end without a traceback."""

import sys
from collections.abc import Callable
from importlib.metadata import version as version_of
from inspect import getdoc
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from booking.cli.accounts import add_user, demote, list_users, promote, remove, set_password, token
from booking.cli.invocation import EXIT_BROKEN_PIPE, EXIT_CODES, EXIT_STOPPED
from booking.cli.operations import audit, doctor, restore, rotate_secret
from booking.cli.schema import openapi
from booking.cli.server import migrate, notify, persist, serve

SERVER_PANEL, OPERATIONS_PANEL, TRIAL_PANEL = "Run the service", "Operate it", "Accounts, and trying it out"
LOADTEST = "loadtest"


class Commands(TyperGroup):
    """All commands. The load test is imported only if it is called or listed, so that other commands start fast."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command with this name."""
        if self.commands.keys().isdisjoint((cmd_name, LOADTEST)):
            from booking.loadtest.command import loadtest

            alone = typer.Typer(add_completion=False)
            alone.command(LOADTEST, rich_help_panel=TRIAL_PANEL, help=unwrapped(loadtest))(loadtest)
            self.add_command(get_command(alone), LOADTEST)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, for the help and for shell completion."""
        self.get_command(ctx, LOADTEST)
        return super().list_commands(ctx)

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Runs the program. A closed output ends it with EXIT_BROKEN_PIPE, also if click or rich sees it first."""
        try:
            try:
                return super().main(*arguments, **options)
            finally:
                sys.stdout.flush()  # here, where errors are handled, and not at the interpreter's end
        except SystemExit as end:
            if not isinstance(end.__context__, BrokenPipeError):
                raise
        except BrokenPipeError:
            pass
        from booking.logs import close_quietly  # only here, so that commands start fast

        close_quietly(sys.stdout)
        sys.exit(EXIT_BROKEN_PIPE)

    def invoke(self, ctx: Any) -> Any:
        """Runs a command. Ctrl-C ends it with EXIT_STOPPED, without a traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("booking: stopped", file=sys.stderr)
            sys.exit(EXIT_STOPPED)


app = typer.Typer(
    name="booking", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
)
user = typer.Typer(no_args_is_help=True, help="The service's own accounts.")


def unwrapped(command: Callable[..., None]) -> str:
    """A command's docstring as its help. Paragraphs are joined into one line, so that the terminal wraps them."""
    paragraphs = (getdoc(command) or "").split("\n\n")
    return "\n\n".join(text if text.startswith(" ") else " ".join(text.split("\n")) for text in paragraphs)


for name, of_accounts in (
    ("list", list_users),
    ("add", add_user),
    ("set-password", set_password),
    ("promote", promote),
    ("demote", demote),
    ("remove", remove),
):
    user.command(name, help=unwrapped(of_accounts))(of_accounts)
app.add_typer(user, name="user", rich_help_panel=TRIAL_PANEL)
for panel, commands in (
    (SERVER_PANEL, (serve, migrate, persist, notify)),
    (OPERATIONS_PANEL, (doctor, audit, restore, rotate_secret)),
    (TRIAL_PANEL, (token, openapi)),
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

    Settings come from the environment (BOOKING_HOST, …); an option overrides its variable. To start with:

        booking serve                                 start everything (port 8000)
        booking doctor                                check it for faults
        booking token --user 1 --role organizer       a token for creating events
        booking user add ann@example.com --organizer  an account that may create them
        booking loadtest                              a flash sale against it

    `booking COMMAND --help` explains each command; `booking --install-completion` installs shell completion.
    """


def main() -> None:
    """The entry point. A character that the locale's encoding lacks is printed as an escape, and is no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="booking")
