"""Delete one org connection from the command line."""

import logging
from argparse import ArgumentParser
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import CommandError
from django.db import Error as DatabaseError
from django.db import connection

from connections.access.actor import command_actor
from connections.change_requests import lifecycle
from connections.core import clock, time_limits
from connections.core.causes import Cause, cause_text
from connections.core.errors import ResponseLocation, ResponseNotRecordedError, UnavailableError
from connections.deletions import confirmations, requesting
from connections.deletions.action import DELETE
from connections.deletions.confirmations import DeletionTarget
from connections.deletions.export import deletion_row
from connections.deletions.status import status_at
from connections.deletions.texts import describe
from connections.inventory import syncs
from connections.management.base import FAILED, Result
from connections.management.deleting import STOPPED, DeletingCommand, exit_code_of
from connections.models import ApprovalPolicy, Credential, Deletion, State, Sync

logger = logging.getLogger(__name__)


class Command(DeletingCommand):
    """Requests and confirms in one run. Doesn't wait for rate limits or reconciliation.

    Until the claim is committed, SIGTERM, SIGINT or SIGHUP ends it with nothing sent. After that,
    it first records Datadog's response and then exits with the outcome's code.
    """

    help = (
        "Delete one org connection. Exit codes: 0 deleted, 1 failed with nothing sent, 2 usage, "
        "3 already absent or gone, 4 refused by Datadog, 5 not sent or waiting, 6 unknown, 7 needs "
        "approval, 8 changed or still present, 9 returned 200 but still listed."
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._request_id = uuid4()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--credential", required=True, metavar="NAME")
        parser.add_argument("--connection-id", required=True, metavar="UUID")
        super().add_arguments(parser)
        parser.add_argument(
            "--unreviewed",
            action="store_true",
            help="Send even if the credential doesn't list the connection.",
        )

    def find_failure(self, error: Exception) -> tuple[str, int] | None:
        """The failure, and the deletion's address if its DELETE might have been sent before."""
        failure = super().find_failure(error)
        if not failure or not self.has_sent or isinstance(error, ResponseNotRecordedError):
            return failure
        return f"{failure[0]} {self.stopped_text}", failure[1]

    def run(self, **options: Any) -> Result:
        connection_id = confirmations.parse_connection_id(options["connection_id"])
        credential = Credential.objects.filter(name__iexact=options["credential"]).first()
        if credential is None:
            self.usage_error(f"No credential is named {options['credential']!r}.")
        requester = self.require_confirmed_input(options)
        existing = confirmations.find_open_deletion(
            site=credential.site, connection_id=connection_id
        )
        if existing:
            return _result_of(existing, is_existing=True)
        requesting.require_usable_credential(credential=credential, requester=requester)
        target = self._sync_and_show(
            credential=credential,
            connection_id=connection_id,
            allow_unreviewed=options["unreviewed"],
        )
        deletion = requesting.request_deletion(
            actor=command_actor(),
            credential=credential,
            connection_id=connection_id,
            reason=options["reason"],
            ticket=options["ticket"],
            request_id=self._request_id,
            digest=target.digest,
            confirmation=target.text_to_type,
            requester=requester,
            note_claim=self.stop.begin_sending,
        )
        self.stop.end_sending()
        deletion = self._resolve_failed_check(deletion, allow_unreviewed=options["unreviewed"])
        self._verify(deletion)
        return _result_of(deletion)

    def _sync_and_show(
        self, *, credential: Credential, connection_id: UUID, allow_unreviewed: bool
    ) -> DeletionTarget:
        """What would be deleted, after a new sync."""
        actor = command_actor()
        [listing] = syncs.sync_orgs(actor=actor, credentials=[credential])
        target = confirmations.find_target(
            actor=actor, credential=credential, connection_id=connection_id
        )
        is_fresh = target.snapshot and target.snapshot.last_seen_at >= listing.started_at
        if not (is_fresh or listing.is_complete or allow_unreviewed):
            raise CommandError(_not_listed(listing), returncode=FAILED)
        return target

    def _resolve_failed_check(self, deletion: Deletion, *, allow_unreviewed: bool) -> Deletion:
        """If the pre-send check failed, send anyway if --unreviewed allows it, or withdraw."""
        is_check_failed = (
            deletion.state == State.REQUESTED and deletion.cause == Cause.LISTING_FAILED
        )
        if not is_check_failed or deletion.policy != ApprovalPolicy.NONE:
            return deletion
        if allow_unreviewed:
            deletion = lifecycle.execute(
                change_request=deletion,
                actor=command_actor(),
                confirmation=confirmations.confirmation_text(deletion, actor=command_actor()),
                skip_recheck=True,
                note_claim=self.stop.begin_sending,
            )
            self.stop.end_sending()
            return deletion
        return lifecycle.withdraw(
            change_request=deletion,
            actor=command_actor(),
            reason="The pre-send check failed.",
        )

    def _verify(self, deletion: Deletion) -> None:
        """Verify a response now, because the exit code depends on it."""
        if not (deletion.is_settled and deletion.due_at):
            return
        try:
            DELETE.verify(deletion, actor=command_actor())
        except UnavailableError:
            # The DELETE was sent and recorded, and the worker repeats the check.
            logger.warning("Deletion %s was sent, but the check afterwards failed.", deletion.pk)
        except DatabaseError as error:
            raise _unreadable_record(deletion) from error

    def stopped_result(self) -> Result:
        """What was requested, if anything. A deletion that was not sent is withdrawn."""
        # The signal might have interrupted a query on this connection.
        connection.close()
        deletion = Deletion.objects.filter(request_id=self._request_id).first()
        if deletion is None:
            return super().stopped_result()
        if deletion.state != State.REQUESTED or deletion.policy != ApprovalPolicy.NONE:
            return _result_of(deletion)
        lifecycle.withdraw(
            change_request=deletion,
            actor=command_actor(),
            reason="The command was stopped before sending.",
        )
        raise CommandError(f"{STOPPED} Deletion: /deletions/{deletion.pk}/", returncode=FAILED)

    @property
    def waiting_text(self) -> str:
        """What it waits for if a DELETE might have been sent and its response is not recorded."""
        if self.stop.deletion_id is None or self.stop.is_response_recorded:
            return ""
        return f"Waiting up to {time_limits.DELETE_SECONDS:.0f} s for Datadog's response."

    @property
    def has_sent(self) -> bool:
        """Whether a DELETE might have been sent."""
        return self.stop.deletion_id is not None

    @property
    def unfinished_text(self) -> str:
        """Whether the response is recorded."""
        text = (
            "Datadog's response is recorded."
            if self.stop.is_response_recorded
            else "The DELETE might have been sent and might have worked. Don't delete again: "
            "a worker or reconcile_deletions checks Datadog's list."
        )
        return f"{text} Deletion: /deletions/{self.stop.deletion_id}/"


def _result_of(deletion: Deletion, *, is_existing: bool = False) -> Result:
    try:
        deletion = Deletion.objects.prefetch_related("attempts", "approvals").get(pk=deletion.pk)
    except DatabaseError as error:
        if deletion.sending_at is None:
            raise
        raise _unreadable_record(deletion) from error
    status = status_at(deletion, now=clock.now())
    description = describe(deletion, status=status)
    url = f"/deletions/{deletion.pk}/"
    document = deletion_row(deletion) | {
        "url": url,
        "headline": description.sentences,
        "is_existing": is_existing,
    }
    lines = [description.sentences, " · ".join(description.facts), *description.lines]
    lines += [f"Datadog: '{quote}'" for quote in description.quotes]
    if is_existing:
        lines.insert(0, "This connection already has an open deletion. No new DELETE was sent.")
    return Result(
        document, *filter(None, lines), f"Deletion: {url}", exit_code=exit_code_of(deletion)
    )


def _unreadable_record(deletion: Deletion) -> ResponseNotRecordedError:
    """The DELETE was sent, which is recorded, so the error must not say that nothing was sent."""
    return ResponseNotRecordedError(
        noun=deletion.noun,
        change_request_id=deletion.pk,
        response_text="The database failed, so its record can't be read now.",
        location=ResponseLocation.IN_DATABASE,
    )


def _not_listed(listing: Sync) -> str:
    quotes = " ".join(f"Datadog: '{text}'" for text in listing.errors)
    why = f"{cause_text(listing.cause)} {quotes}".strip()
    return (
        f"Nothing was sent: the sync failed. {why} To send without its details, add --unreviewed."
    )
