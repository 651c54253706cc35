"""The base class of the commands that send: exit codes, and what a signal does to them."""

import contextlib
import json
import os
import signal
import sys
from abc import abstractmethod
from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import CommandError

from connections.change_requests.actions import action_of
from connections.change_requests.requesting import find_input_problems
from connections.core.causes import Cause
from connections.core.errors import STOP_SIGNALS, StopRequestedError
from connections.core.text import printable
from connections.management import interruption
from connections.management.base import FAILED, NOT_SENT, UNKNOWN, OrgAdminCommand, Result
from connections.models import (
    AccessOutcome,
    AccessState,
    ChangeRequest,
    Outcome,
    Person,
    State,
)

STILL_LISTED = 9
_EXIT_CODES_BY_OUTCOME: dict[str, int] = {
    Outcome.DELETED: 0,
    AccessOutcome.CREATED: 0,
    AccessOutcome.CHANGED: 0,
    AccessOutcome.EXTENDED: 0,
    Outcome.ALREADY_ABSENT: 3,
    Outcome.GONE_UNATTRIBUTED: 3,
    AccessOutcome.ALREADY_EXISTS: 3,
    AccessOutcome.ALREADY_AS_REQUESTED: 3,
    AccessOutcome.EXISTS_UNATTRIBUTED: 3,
    AccessOutcome.GONE: 3,
    Outcome.REFUSED: 4,
    Outcome.NOT_SENT: NOT_SENT,
    Outcome.STALE: 8,
    AccessOutcome.CHANGED_ELSEWHERE: 8,
    # Nothing was sent, and Datadog is not the reason. The command withdraws what it could not
    # check.
    Outcome.DECLINED: FAILED,
    Outcome.WITHDRAWN: FAILED,
    Outcome.EXPIRED: FAILED,
    Outcome.UNRESOLVED: 6,
}
_EXIT_CODES_BY_STATE: dict[str, int] = {
    State.APPROVED: 7,
    State.SENDING: 6,
    State.WAITING: 5,
    State.UNKNOWN: 6,
    State.STILL_PRESENT: 8,
    AccessState.NO_EFFECT: 8,
}


def exit_code_of(change_request: ChangeRequest) -> int:
    """The exit code for the outcome or state of a deletion or access request."""
    if change_request.is_settled:
        if _is_not_shown(change_request):
            return STILL_LISTED
        return _EXIT_CODES_BY_OUTCOME[change_request.outcome]
    if change_request.state == State.REQUESTED:
        return 7 if change_request.needs_approval else 5
    is_creating = change_request.reported_cause == Cause.MOVE_CREATING
    if is_creating and change_request.state == State.APPROVED:
        # Its POST was refused and can be confirmed again.
        return 4
    return _EXIT_CODES_BY_STATE[change_request.state]


def _is_not_shown(change_request: ChangeRequest) -> bool:
    """Whether the newest complete list contradicts a response that it worked."""
    action = action_of(change_request)
    listed = change_request.last_check_listed
    if listed is None or change_request.outcome != action.success:
        return False
    # The connection can be listed without what was changed.
    is_unverified = change_request.verified_at is None and (
        change_request.due_at or change_request.contradicted_at
    )
    return listed != action.is_listed_when_done or bool(is_unverified)


STOPPED = "Stopped. Nothing was sent."


class DeletingCommand(OrgAdminCommand):
    """A command that a signal ends in a defined state, with an exit code that tells which state.

    While `stop.is_held`, a signal is only noted. Otherwise it ends the command with nothing sent.
    """

    needs_keys = True
    # Why it needs --yes.
    why_yes = "a deletion can't be fully undone"

    @property
    def failure_code(self) -> int:
        """6 once something might have been sent, because 1 means that nothing was."""
        return UNKNOWN if self.has_sent else FAILED

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_result_written = False
        self.stop = interruption.Stop(
            when_noted=self._print_waiting, end_immediately=self._end_immediately
        )

    def stopped_result(self) -> Result:
        """The result after a signal that came while nothing was sent or everything was recorded."""
        raise CommandError(STOPPED, returncode=FAILED)

    @property
    @abstractmethod
    def waiting_text(self) -> str:
        """What it still waits for after a signal; "" if nothing."""

    @property
    @abstractmethod
    def has_sent(self) -> bool:
        """Whether something might have been sent."""

    @property
    @abstractmethod
    def unfinished_text(self) -> str:
        """What is left behind when it ends immediately after something might have been sent."""

    @property
    def stopped_text(self) -> str:
        """What a second signal leaves behind."""
        return f"Stopped. {self.unfinished_text}" if self.has_sent else STOPPED

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add why it sends, for whom, and the confirmation."""
        parser.add_argument("--reason", required=True, help="Kept permanently in the audit log.")
        parser.add_argument("--ticket", default="")
        parser.add_argument(
            "--as", dest="username", metavar="USERNAME", help="The requester, who can't approve it."
        )
        parser.add_argument("--yes", action="store_true", help=f"Required: {self.why_yes}.")

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as a separate process, with signal handlers until it ends."""
        interruption.handle_signals(self.stop)
        try:
            super().run_from_argv(argv)
        finally:
            self.stop.is_held = True
            interruption.ignore_signals()

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, and print the result even if a signal stops it."""
        try:
            try:
                self.stop.release()
                super().handle(*args, **options)
            finally:
                self.stop.is_held = True
        except StopRequestedError:
            self.finish(self.stopped_result())

    def finish(self, result: Result) -> NoReturn:
        """Print the result and exit with its code, which a signal no longer changes."""
        self.stop.is_held = True
        super().finish(result)
        raise SystemExit(result.exit_code)

    def require_confirmed_input(self, options: dict[str, Any]) -> Person | None:
        """The requester that --as names, if any.

        Ends with a usage error for an unknown one, an invalid text, and without --yes.
        """
        username = options["username"]
        requester = self.find_person(username) if username else None
        problems = find_input_problems(reason=options["reason"], ticket=options["ticket"])
        if problems:
            self.usage_error(" ".join(f"--{name}: {text}" for name, text in problems.items()))
        if not (options["yes"] or options.get("dry_run")):
            self.usage_error(f"Nothing was sent. Add --yes: {self.why_yes}.")
        return requester

    def emit(self, document: Any, *lines: str) -> None:
        """Write the result.

        A lost terminal is ignored, because the exit code still tells the result.
        """
        self._is_result_written = True
        try:
            super().emit(document, *lines)
        except OSError:
            self.drop_output()

    def _print_waiting(self) -> None:
        text = self.waiting_text
        if text:
            write_now(sys.stderr.fileno(), f"{text} A second signal stops immediately.")

    def _end_immediately(self) -> NoReturn:
        """End the process immediately, from a signal handler."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        text = self.stopped_text
        if "--json" in sys.argv and not self._is_result_written:
            write_now(sys.stdout.fileno(), json.dumps({"error": text}))
        write_now(sys.stderr.fileno(), text)
        os._exit(UNKNOWN if self.has_sent else FAILED)


def write_now(descriptor: int, text: str) -> None:
    """Write a line without Python's buffers, which a signal handler must not use."""
    # The reader might have gone away.
    with contextlib.suppress(OSError):
        os.write(descriptor, f"{printable(text)}\n".encode())
