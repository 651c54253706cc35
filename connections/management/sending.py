"""The base class of the commands that request one change and send it."""

import logging
from argparse import ArgumentParser
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import CommandError
from django.db import Error as DatabaseError
from django.db import connection

from connections.access.actor import command_actor
from connections.agreements.what_changes import WhatChanges
from connections.change_requests import lifecycle, verification
from connections.core.causes import Cause
from connections.core.errors import (
    BlockedError,
    ConflictError,
    ResponseNotRecordedError,
    UnavailableError,
)
from connections.management.base import FAILED, NOT_SENT, UNKNOWN, Result, link_to
from connections.management.deleting import DeletingCommand
from connections.models import ApprovalPolicy, ChangeRequest, State

logger = logging.getLogger(__name__)


class SendingCommand[R: ChangeRequest](DeletingCommand):
    """Requests and confirms in one run. Doesn't wait for rate limits or reconciliation."""

    model: type[R]
    # What is sent, and what not to do again: "The DELETE", "delete".
    sent: tuple[str, str]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._request_id = uuid4()
        self._pk: UUID | None = None

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Print what would change, from the last sync. Sends and stores nothing. Exit "
            "codes: 0 it would be sent, 2 it can't be requested, 7 it would need approval.",
        )

    def show_changes(self, changes: WhatChanges, *, needs_approval: bool) -> Result:
        """What would change, for a dry run."""
        document = {"dry_run": True, "needs_approval": needs_approval, "changes": changes.lines}
        then = "This would need approval." if needs_approval else "This would be sent at once."
        return Result(document, *changes.lines, then, exit_code=7 if needs_approval else 0)

    def begin_request(self) -> UUID:
        """The ID of the request, which might be sent from now on."""
        self.has_begun = True
        return self._request_id

    @property
    def failure_code(self) -> int:
        """6 once something might have been sent, because 1 means that nothing was."""
        return UNKNOWN if self._might_have_sent() else FAILED

    def find_failure(self, error: Exception) -> tuple[str, int] | None:
        """The failure, and the address of what might have been sent before."""
        if isinstance(error, DatabaseError):
            # A broken connection couldn't tell what was sent.
            connection.close_if_unusable_or_obsolete()
        failure = super().find_failure(error)
        if not failure or isinstance(error, CommandError | ResponseNotRecordedError):
            return failure
        if self._might_have_sent():
            return f"{failure[0]} {self.unfinished_text}", UNKNOWN
        return (failure[0], NOT_SENT) if isinstance(error, BlockedError) else failure

    def withdraw_if_unchecked(self, change_request: R) -> R:
        """Withdraw what a failed pre-send check kept from being sent, so nothing stays open."""
        if not is_check_failed(change_request):
            return change_request
        return lifecycle.withdraw(
            change_request=change_request,
            actor=command_actor(),
            reason="The pre-send check failed.",
        )

    def verify(self, change_request: R) -> None:
        """Verify a response now, because the exit code depends on it."""
        if not (change_request.is_settled and change_request.due_at):
            return
        try:
            verification.verify(change_request=change_request, actor=command_actor())
        except UnavailableError:
            # It was sent and recorded, and the worker repeats the check.
            logger.warning(
                "%s %s was sent, but the check afterwards failed.",
                change_request.label.capitalize(),
                change_request.pk,
            )

    def withdraw_unsent(self) -> str | None:
        """Withdraw the request. Return its address, or None if it might have been sent."""
        change_request = self._find_request()
        if change_request is None:
            return ""
        try:
            if not (change_request.is_settled or change_request.epoch):
                lifecycle.withdraw(
                    change_request=change_request,
                    actor=command_actor(),
                    reason="The command was stopped before sending.",
                )
        except ConflictError:
            # Someone confirmed it meanwhile.
            return None
        return None if change_request.epoch else self._link

    @property
    def unfinished_text(self) -> str:
        """What might have been sent, and where to see it."""
        what, again = self.sent
        return (
            f"{what} might have been sent and might have worked. Don't {again} again: a worker or "
            f"reconcile_deletions checks Datadog's list. {self._link}"
        )

    @property
    def _link(self) -> str:
        return link_to(self.model.noun, self._pk)

    def _might_have_sent(self) -> bool:
        """Whether something might have been sent, which an unreadable database doesn't rule out."""
        if not self.has_begun:
            return False
        try:
            change_request = self._find_request()
        except Exception as error:  # noqa: BLE001 - whatever failed, it might have been sent
            logger.warning("What was sent can't be read: %s", error)
            return True
        return bool(change_request and change_request.epoch)

    def _find_request(self) -> R | None:
        change_request = self.model._default_manager.filter(request_id=self._request_id).first()
        if change_request:
            self._pk = change_request.pk
        return change_request


def is_check_failed(change_request: ChangeRequest) -> bool:
    """Whether a failed pre-send check kept from being sent what needs no approval."""
    return (
        change_request.state == State.REQUESTED
        and change_request.cause == Cause.LISTING_FAILED
        and change_request.policy == ApprovalPolicy.NONE
    )
