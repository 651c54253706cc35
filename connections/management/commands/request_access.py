"""Request access from the command line."""

from argparse import ArgumentParser
from datetime import date
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.http import Http404

from connections.access.actor import command_actor
from connections.access_requests import requesting
from connections.access_requests.listing import as_listed, document_of
from connections.access_requests.requesting import TooManyOpenError, WantedTerms, complete_terms
from connections.access_requests.targets import AccessTarget, AccessTerms, find_target
from connections.access_requests.what_changes import changes_of_terms
from connections.change_requests.exclusion import find_open
from connections.core import clock
from connections.core.causes import cause_text
from connections.core.errors import ConflictError, InvalidInputError
from connections.inventory import syncs
from connections.inventory.org_details import find_by_id_or_name, find_owner
from connections.inventory.orgs import list_known_orgs
from connections.management.base import FAILED, NOT_SENT, Result
from connections.management.deleting import exit_code_of
from connections.management.sending import SendingCommand
from connections.models import (
    AccessRequest,
    Credential,
    Deletion,
    OrgPair,
    RequestKind,
)

# The exit codes of the outcomes that sending would have had.
ALREADY_SO = 3
DIFFERS = 8
# What each kind can't do without.
_REQUIRED = {
    RequestKind.CREATE: "types",
    RequestKind.CHANGE: "types",
    RequestKind.EXTEND: "until",
    RequestKind.RESTORE: "deletion",
}


class Command(SendingCommand[AccessRequest]):
    """Requests access after a sync. What is not given stays as agreed."""

    help = (
        "Request access for a pair of orgs, and send it if no approval is needed. Exit codes: "
        "0 done, 1 failed with nothing sent, 2 usage, 3 already as requested or gone, 4 refused by "
        "Datadog, 5 not sent or waiting, 6 unknown, 7 needs approval, 8 changed or without effect, "
        "9 returned 200 but lists don't show it."
    )
    model = AccessRequest
    sent = ("The request", "request it")
    # The reason for a new connection is its purpose.
    needs_reason = False
    why_yes = "this can give people access to data"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--kind", required=True, choices=RequestKind.values)
        parser.add_argument(
            "--source",
            required=True,
            metavar="SITE/ORG",
            help="The org whose data is shared: its ID, or a name that only one org has.",
        )
        parser.add_argument("--destination", required=True, metavar="ORG")
        parser.add_argument("--types", metavar="A,B", help="The data types.")
        parser.add_argument("--until", metavar="DATE", help="The last day, in UTC.")
        owner = parser.add_mutually_exclusive_group()
        owner.add_argument("--owner", metavar="USERNAME")
        owner.add_argument(
            "--owner-text", metavar="TEXT", help="A team, or someone without an account."
        )
        parser.add_argument("--purpose", metavar="TEXT")
        parser.add_argument("--deletion", metavar="UUID", help="The closed deletion to restore.")
        parser.add_argument("--credential", metavar="NAME", help="One of the source org.")
        super().add_arguments(parser)

    def run(self, **options: Any) -> Result:
        kind = RequestKind(options["kind"])
        if kind == RequestKind.CREATE and options["purpose"]:
            options["reason"] = options["reason"] or options["purpose"]
        requester = self.require_confirmed_input(options)
        self._require_options(kind, options)
        pair, wanted = self._find_pair(options), self._find_wanted(options)
        credential, deletion = self._find_credential(options), self._find_deletion(options)
        if options["dry_run"]:
            target = self._find_target(
                kind=kind, pair=pair, credential=credential, restored_from=deletion
            )
            return self._preview(target, wanted, options)
        existing = find_open(AccessRequest, pair)
        if existing:
            return _result_of(existing, is_existing=True)
        target = self._sync_and_find(
            kind=kind, pair=pair, credential=credential, restored_from=deletion
        )
        reason, ticket = options["reason"], options["ticket"]
        terms = complete_terms(target, wanted, reason=reason, ticket=ticket)
        _require_difference(target, terms)
        access_request = requesting.request_access(
            actor=command_actor(),
            kind=kind,
            pair=pair,
            wanted=wanted,
            reason=reason,
            ticket=ticket,
            request_id=self.begin_request(),
            digest=target.form_digest,
            confirmation=target.text_to_type,
            credential=target.credential,
            restored_from=deletion,
            requester=requester,
        )
        access_request = self.withdraw_if_unchecked(access_request)
        self.verify(access_request)
        return _result_of(access_request)

    def find_failure(self, error: Exception) -> tuple[str, int] | None:
        """The failure. One that waiting ends has the exit code of what waits."""
        if isinstance(error, TooManyOpenError):
            return str(error), NOT_SENT
        return super().find_failure(error)

    def _require_options(self, kind: RequestKind, options: dict[str, Any]) -> None:
        required = _REQUIRED.get(kind)
        if required and not options[required]:
            self.usage_error(f"--kind {kind} needs --{required}.")
        if options["deletion"] and kind != RequestKind.RESTORE:
            self.usage_error("--deletion is for --kind restore.")

    def _find_pair(self, options: dict[str, Any]) -> OrgPair:
        site, slash, source_text = options["source"].partition("/")
        if not slash:
            self.usage_error("--source: Use SITE/ORG, such as datadoghq.com/Labs.")
        orgs = list_known_orgs(actor=command_actor())
        source, sink = (
            find_by_id_or_name(orgs, site=site, text=text)
            for text in (source_text, options["destination"])
        )
        return OrgPair(source.site, source.org_id, sink.org_id)

    def _find_wanted(self, options: dict[str, Any]) -> WantedTerms:
        wanted: WantedTerms = {}
        if options["types"]:
            types = [text.strip() for text in options["types"].split(",")]
            wanted["types"] = [text for text in types if text]
        if options["owner"]:
            wanted["owner"] = find_owner(options["owner"])
        if options["owner_text"]:
            wanted["owner_text"] = options["owner_text"]
        if options["purpose"]:
            wanted["purpose"] = options["purpose"]
        if options["until"]:
            try:
                wanted["ends_on"] = date.fromisoformat(options["until"])
            except ValueError:
                self.usage_error("--until: Use a date such as 2027-06-30.")
        return wanted

    def _find_credential(self, options: dict[str, Any]) -> Credential | None:
        name = options["credential"]
        return self.choose_credentials(name)[0] if name else None

    def _find_deletion(self, options: dict[str, Any]) -> Deletion | None:
        text = options["deletion"]
        if not text:
            return None
        try:
            return Deletion.objects.get(pk=UUID(text))
        except (ValueError, Deletion.DoesNotExist):
            self.usage_error(f"No deletion has the ID {text!r}.")

    def _preview(
        self, target: AccessTarget, wanted: WantedTerms, options: dict[str, Any]
    ) -> Result:
        """What would change, or why it can't be requested."""
        terms = complete_terms(target, wanted, reason=options["reason"], ticket=options["ticket"])
        actor, today = command_actor(), clock.now().date()
        try:
            requesting.require_requestable(target, terms, actor=actor, today=today)
        except (InvalidInputError, ConflictError) as error:
            self.usage_error(str(error))
        changes = changes_of_terms(target, terms, actor=actor)
        return self.show_changes(changes, needs_approval=target.needs_approval)

    def _find_target(self, **wanted: Any) -> AccessTarget:
        """What would be requested, from the last sync."""
        try:
            return find_target(actor=command_actor(), **wanted)
        except Http404 as error:
            self.usage_error(str(error))

    def _sync_and_find(self, **wanted: Any) -> AccessTarget:
        """What would be requested, after a new sync."""
        target = self._find_target(**wanted)
        if target.credential is None:
            self.usage_error(target.problem)
        [listing] = syncs.sync_orgs(actor=command_actor(), credentials=[target.credential])
        if not listing.is_complete:
            quotes = " ".join(f"Datadog: '{text}'" for text in listing.errors)
            why = f"{cause_text(listing.cause)} {quotes}".strip()
            raise CommandError(f"Nothing was sent: the sync failed. {why}", returncode=FAILED)
        return find_target(actor=command_actor(), **wanted)


def _require_difference(target: AccessTarget, terms: AccessTerms) -> None:
    """Raise CommandError, with nothing recorded, if it is already so or differs from the kind."""
    snapshot, agreement, kind = target.snapshot, target.agreement, target.kind
    is_new = kind in {RequestKind.CREATE, RequestKind.RESTORE}
    if snapshot is None:
        if not is_new:
            raise CommandError(f"{target.problem} Nothing was sent.", returncode=DIFFERS)
        return
    is_same = sorted(snapshot.connection_types) == terms.types
    is_already_so = {
        RequestKind.CHANGE: is_same,
        RequestKind.EXTEND: agreement is not None and terms.ends_on == agreement.ends_on,
        RequestKind.MOVE: target.has_its_creator,
    }.get(kind, is_same)
    if is_already_so:
        raise CommandError("It is already so. Nothing was sent.", returncode=ALREADY_SO)
    if is_new:
        raise CommandError(f"{target.problem} Nothing was sent.", returncode=DIFFERS)


def _result_of(access_request: AccessRequest, *, is_existing: bool = False) -> Result:
    rows = AccessRequest.objects.filter(pk=access_request.pk)
    [listed] = as_listed(rows, actor=command_actor())
    document = document_of(listed) | {"is_existing": is_existing}
    request = listed.request
    lines = [f"{request.progress}: {request.description}", cause_text(request.reported_cause)]
    lines += [f"Datadog: '{text}'" for attempt in request.attempts.all() for text in attempt.errors]
    if is_existing:
        lines.insert(0, "These orgs already have an open access request. Nothing new was sent.")
    return Result(
        document,
        *filter(None, lines),
        f"Access request: {document['url']}",
        exit_code=exit_code_of(request),
    )
