"""Delete one org connection from the command line."""

import logging
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from connections.access.actor import command_actor
from connections.change_requests import lifecycle
from connections.core import clock
from connections.core.causes import cause_text
from connections.deletions import confirmations, requesting
from connections.deletions.confirmations import DeletionTarget, changes_of_target
from connections.deletions.export import deletion_row
from connections.deletions.status import status_at
from connections.deletions.texts import describe
from connections.inventory import syncs
from connections.inventory.protections import protection_text
from connections.management.base import FAILED, Result
from connections.management.deleting import exit_code_of
from connections.management.sending import SendingCommand, is_check_failed
from connections.models import Credential, Deletion, Person, Sync

logger = logging.getLogger(__name__)


class Command(SendingCommand[Deletion]):
    """Deletes a connection that the credential lists or, with an option, one that it doesn't."""

    help = (
        "Delete one org connection. Exit codes: 0 deleted, 1 failed with nothing sent, 2 usage, "
        "3 already absent or gone, 4 refused by Datadog, 5 not sent or waiting, 6 unknown, 7 needs "
        "approval, 8 changed or still present, 9 returned 200 but still listed."
    )

    model = Deletion
    sent = ("The DELETE", "delete")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--credential", required=True, metavar="NAME")
        parser.add_argument("--connection-id", required=True, metavar="UUID")
        super().add_arguments(parser)
        parser.add_argument(
            "--unreviewed",
            action="store_true",
            help="Send even if the credential doesn't list the connection.",
        )

    def run(self, **options: Any) -> Result:
        connection_id = confirmations.parse_connection_id(options["connection_id"])
        credential = Credential.objects.filter(name__iexact=options["credential"]).first()
        if credential is None:
            self.usage_error(f"No credential is named {options['credential']!r}.")
        requester = self.require_confirmed_input(options)
        if options["dry_run"]:
            return self._preview(credential, connection_id, requester)
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
            request_id=self.begin_request(),
            digest=target.digest,
            confirmation=target.text_to_type,
            requester=requester,
        )
        deletion = self._resolve_failed_check(deletion, allow_unreviewed=options["unreviewed"])
        self.verify(deletion)
        return _result_of(deletion)

    def _preview(
        self, credential: Credential, connection_id: UUID, requester: Person | None
    ) -> Result:
        """What would change, or why it can't be deleted."""
        requesting.require_usable_credential(credential=credential, requester=requester)
        target = confirmations.find_target(
            actor=command_actor(), credential=credential, connection_id=connection_id
        )
        changes = changes_of_target(target, actor=command_actor(), now=clock.now())
        if confirmations.find_open_deletion(site=credential.site, connection_id=connection_id):
            self.usage_error("This connection already has an open deletion.")
        if target.protection:
            self.usage_error(protection_text(target.protection))
        if changes is None:
            self.usage_error(f"{credential.name} didn't list this connection in its last sync.")
        return self.show_changes(changes, needs_approval=target.needs_approval)

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
        if not (allow_unreviewed and is_check_failed(deletion)):
            return self.withdraw_if_unchecked(deletion)
        return lifecycle.execute(
            change_request=deletion,
            actor=command_actor(),
            confirmation=confirmations.confirmation_text(deletion, actor=command_actor()),
            skip_recheck=True,
        )


def _result_of(deletion: Deletion, *, is_existing: bool = False) -> Result:
    deletion = Deletion.objects.prefetch_related("attempts", "approvals").get(pk=deletion.pk)
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


def _not_listed(listing: Sync) -> str:
    quotes = " ".join(f"Datadog: '{text}'" for text in listing.errors)
    why = f"{cause_text(listing.cause)} {quotes}".strip()
    return (
        f"Nothing was sent: the sync failed. {why} To send without its details, add --unreviewed."
    )
