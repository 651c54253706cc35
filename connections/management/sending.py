"""The base class of the commands that request one change and send it."""

import logging
from abc import abstractmethod
from typing import Any
from uuid import uuid4

from django.core.management.base import CommandError
from django.db import Error as DatabaseError
from django.db import connection

from connections.access.actor import command_actor
from connections.change_requests import lifecycle
from connections.change_requests.actions import action_of
from connections.core import time_limits
from connections.core.causes import Cause
from connections.core.errors import (
    BlockedError,
    ResponseLocation,
    ResponseNotRecordedError,
    UnavailableError,
)
from connections.management.base import FAILED, NOT_SENT, Result, link_to
from connections.management.deleting import STOPPED, DeletingCommand
from connections.models import ApprovalPolicy, ChangeRequest, State

logger = logging.getLogger(__name__)


class SendingCommand[R: ChangeRequest](DeletingCommand):
    """Requests and confirms in one run. Doesn't wait for rate limits or reconciliation.

    Until the claim is committed, SIGTERM, SIGINT or SIGHUP ends it with nothing sent. After that,
    it first records Datadog's response and then exits with the outcome's code.
    """

    model: type[R]
    # What is sent, and what not to do again: "The DELETE", "delete".
    sent: tuple[str, str]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.request_id = uuid4()

    @abstractmethod
    def result_of(self, change_request: R) -> Result:
        """The result, read from the database again."""

    def find_failure(self, error: Exception) -> tuple[str, int] | None:
        """The failure, and the address of what might have been sent before."""
        failure = super().find_failure(error)
        if failure and isinstance(error, BlockedError) and not self.has_sent:
            return failure[0], NOT_SENT
        if not failure or not self.has_sent or isinstance(error, ResponseNotRecordedError):
            return failure
        return f"{failure[0]} {self.stopped_text}", failure[1]

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
            action_of(change_request).verify(change_request, actor=command_actor())
        except UnavailableError:
            # It was sent and recorded, and the worker repeats the check.
            logger.warning(
                "%s %s was sent, but the check afterwards failed.",
                change_request.label.capitalize(),
                change_request.pk,
            )
        except DatabaseError as error:
            raise unreadable_record(change_request) from error

    def stopped_result(self) -> Result:
        """What was requested, if anything. What was not sent is withdrawn."""
        # The signal might have interrupted a query on this connection.
        connection.close()
        change_request = self.model._default_manager.filter(request_id=self.request_id).first()
        if change_request is None:
            return super().stopped_result()
        if change_request.state != State.REQUESTED or change_request.policy != ApprovalPolicy.NONE:
            return self.result_of(change_request)
        lifecycle.withdraw(
            change_request=change_request,
            actor=command_actor(),
            reason="The command was stopped before sending.",
        )
        link = link_to(change_request.noun, change_request.pk)
        raise CommandError(f"{STOPPED} {link}", returncode=FAILED)

    @property
    def waiting_text(self) -> str:
        """What it waits for if something might have been sent whose response is not recorded."""
        if self.stop.sent_id is None or self.stop.is_response_recorded:
            return ""
        return f"Waiting up to {time_limits.DELETE_SECONDS:.0f} s for Datadog's response."

    @property
    def has_sent(self) -> bool:
        """Whether something might have been sent."""
        return self.stop.sent_id is not None

    @property
    def unfinished_text(self) -> str:
        """Whether the response is recorded."""
        if self.stop.sent_id is None:
            return ""
        what, again = self.sent
        text = (
            "Datadog's response is recorded."
            if self.stop.is_response_recorded
            else f"{what} might have been sent and might have worked. Don't {again} again: "
            "a worker or reconcile_deletions checks Datadog's list."
        )
        return f"{text} {link_to(self.model.noun, self.stop.sent_id)}"


def is_check_failed(change_request: ChangeRequest) -> bool:
    """Whether a failed pre-send check kept from being sent what needs no approval."""
    return (
        change_request.state == State.REQUESTED
        and change_request.cause == Cause.LISTING_FAILED
        and change_request.policy == ApprovalPolicy.NONE
    )


def unreadable_record(change_request: ChangeRequest) -> ResponseNotRecordedError:
    """It was sent, which is recorded, so the error must not say that nothing was sent."""
    return ResponseNotRecordedError(
        noun=change_request.noun,
        change_request_id=change_request.pk,
        response_text="The database failed, so its record can't be read now.",
        location=ResponseLocation.IN_DATABASE,
    )
