"""The base class of the commands that send: exit codes, and what a signal does to them."""

import logging
import os
import signal
import socket
import threading
import time
from abc import abstractmethod
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

from django.core.management.base import CommandError
from django.db import connection

from connections.change_requests.actions import action_of
from connections.change_requests.requesting import find_input_problems
from connections.core.causes import Cause
from connections.core.errors import STOP_SIGNALS
from connections.management.base import FAILED, NOT_SENT, UNKNOWN, OrgAdminCommand, Result
from connections.models import (
    AccessOutcome,
    AccessState,
    ChangeRequest,
    Outcome,
    Person,
    State,
)

logger = logging.getLogger(__name__)

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
    return listed == action.deletes or bool(is_unverified)


class DeletingCommand(OrgAdminCommand):
    """A command that a signal ends at once, with an exit code that tells if it might have sent.

    SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does. A worker settles what was sent.
    """

    needs_keys = True
    # Whether --reason is needed whatever is requested.
    needs_reason = True
    # Why it needs --yes.
    why_yes = "a deletion can't be fully undone"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Whether something might have been requested, so that it could be sent.
        self.has_begun = False
        self._is_stopped = False
        self._handled_signals: list[signal.Signals] = []

    @property
    @abstractmethod
    def unfinished_text(self) -> str:
        """What might have been sent, and where to see it."""

    @abstractmethod
    def withdraw_unsent(self) -> str | None:
        """Withdraw what was requested. Return its address, or None if it might have been sent."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add why it sends, for whom, and the confirmation."""
        parser.add_argument(
            "--reason",
            required=self.needs_reason,
            default="",
            help="Kept permanently in the audit log.",
        )
        parser.add_argument("--ticket", default="")
        parser.add_argument(
            "--as", dest="username", metavar="USERNAME", help="The requester, who can't approve it."
        )
        parser.add_argument("--yes", action="store_true", help=f"Required: {self.why_yes}.")

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as a process of its own, which signals end. One that is ignored stays ignored."""
        for number in STOP_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
                self._handled_signals.append(number)
        _repeat_signals()
        try:
            super().run_from_argv(argv)
        except SystemExit as end:
            if self._is_stopped and isinstance(end.code, int):
                # Its threads might wait for Datadog.
                os._exit(end.code)
            raise

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until the end or a signal."""
        try:
            # manage.py blocks signals while Django is loaded.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            super().handle(*args, **options)
        except KeyboardInterrupt:
            self._ignore_signals()
            self._stop()

    def find_failure(self, error: Exception) -> tuple[str, int] | None:
        """The failure, which a signal no longer changes."""
        self._ignore_signals()
        return super().find_failure(error)

    def finish(self, result: Result) -> NoReturn:
        """Print the result and exit with its code, which a signal no longer changes."""
        self._ignore_signals()
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
        try:
            super().emit(document, *lines)
        except OSError:
            self.drop_output()

    def _stop(self) -> NoReturn:
        """End with 1 if nothing was sent, otherwise with 6."""
        self._is_stopped = True
        address: str | None = ""
        if self.has_begun:
            try:
                connection.close()
                # In a thread, because the signal might have interrupted a transaction of this one.
                with ThreadPoolExecutor(max_workers=1) as thread:
                    address = thread.submit(self.withdraw_unsent).result()
            except Exception as error:  # noqa: BLE001 - whatever failed, it might have been sent
                logger.warning("What was sent can't be read: %s", error)
                address = None
        if address is None:
            raise CommandError(f"Stopped. {self.unfinished_text}", returncode=UNKNOWN)
        raise CommandError(f"Stopped. Nothing was sent. {address}".strip(), returncode=FAILED)

    def _ignore_signals(self) -> None:
        for number in self._handled_signals:
            signal.signal(number, signal.SIG_IGN)


def _repeat_signals() -> None:
    """Send each signal to this thread again after a second, until signals are ignored.

    Python notices a signal that arrives right before a blocking system call, such as the wait for
    another thread, only when that call returns. The second signal interrupts the call.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    main_thread = threading.get_ident()

    def repeat() -> None:
        while number := reader.recv(1):
            time.sleep(1)
            signal.pthread_kill(main_thread, number[0])

    threading.Thread(target=repeat, name="signals", daemon=True).start()
