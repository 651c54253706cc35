"""What the confirmation page of an access request shows. Nothing here stores anything."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.conf import settings

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access.policies import strictest_policy
from connections.access_requests.actions import pair_of, text_to_type
from connections.agreements.agreed import find_agreements
from connections.agreements.approved import find_automatic_end
from connections.agreements.setting import require_pairs
from connections.change_requests.exclusion import find_open
from connections.core import clock
from connections.core.causes import Cause, cause_text
from connections.core.errors import ConflictError
from connections.inventory import protections
from connections.models import (
    AccessRequest,
    Agreement,
    ApprovalPolicy,
    Credential,
    Deletion,
    Org,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    Protection,
    RequestKind,
)


@dataclass(frozen=True, kw_only=True)
class AccessTerms:
    """What a person asks for. `types` are sorted.

    `ends_on` is the last day in UTC, after which Org Admin deletes the connection, and `as_agreed`
    has the fields of the agreement that stay.
    """

    types: Sequence[str]
    owner: Person | None
    owner_text: str
    purpose: str
    ends_on: date | None
    reason: str
    ticket: str = ""
    as_agreed: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class AccessTarget:
    """A pair of orgs for which access is requested, from stored snapshots."""

    kind: RequestKind
    pair: OrgPair
    source_name: str
    sink_name: str
    # Of the source org. None if the person sees none, or if the one that is named doesn't do.
    credential: Credential | None
    named_credential: Credential | None
    other_credentials: list[Credential]
    # The pair's connection as a credential in use lists it.
    snapshot: OrgConnectionSnapshot | None
    agreement: Agreement | None
    # The newest, also if the agreement is hidden from the person; 0 without one.
    agreement_version: int
    # The last day of the access that an earlier request gave and that Org Admin ends.
    approved_end: date | None
    restored_from: Deletion | None
    policy: ApprovalPolicy
    open_request: AccessRequest | None
    # Of the connection, if it is to be changed or moved: nothing can be taken from it.
    protection: Protection | None
    # Whether the person can use the credential, so that no one else has to confirm.
    can_confirm: bool

    @property
    def needs_approval(self) -> bool:
        return self.policy != ApprovalPolicy.NONE

    @property
    def is_sent_at_once(self) -> bool:
        """Whether requesting also confirms and sends it."""
        return not self.needs_approval and self.can_confirm

    @property
    def text_to_type(self) -> str:
        """What confirms it: the destination org's name."""
        return text_to_type(sink_org_id=self.pair.sink_org_id, sink_org_name=self.sink_name)

    @property
    def problem(self) -> str:
        """Why it can't be requested now, and what to do. "" if it can."""
        if self.pair.source_org_id == self.pair.sink_org_id:
            return "An org can't be connected to itself. Choose two different orgs."
        if self.credential is None:
            return self._problem_without_credential()
        if self.kind == RequestKind.RESTORE and not self._is_restorable:
            return "Choose a closed deletion of a connection of these orgs."
        if self.kind in {RequestKind.CREATE, RequestKind.RESTORE}:
            return self._problem_of_creating(self.credential)
        if self.snapshot is None:
            return "These orgs aren't connected. Request a new one instead."
        if self.kind == RequestKind.EXTEND and self.agreement is None:
            return "This connection has no agreement. Set one first."
        return self._problem_of_moving(self.credential) if self.kind == RequestKind.MOVE else ""

    @property
    def possible_instead(self) -> RequestKind | None:
        """The kind that fits, if this one doesn't because the orgs are connected, or aren't."""
        is_new = self.kind in {RequestKind.CREATE, RequestKind.RESTORE}
        if self.credential is None or is_new == (self.snapshot is None):
            return None
        return RequestKind.CHANGE if is_new else RequestKind.CREATE

    def _problem_without_credential(self) -> str:
        source, named = self.source_name or self.pair.source_org_id, self.named_credential
        if named is None:
            # Also true if access lists hide one.
            return (
                f"You can't use any credential of {source}. "
                "Ask an administrator or a Credential manager."
            )
        if (named.site, named.org_id) != (self.pair.site, self.pair.source_org_id):
            return f"{named.name} isn't a credential of {source}."
        why = "is retired" if named.retired_at else "can't be used by you"
        return f"{named.name} {why}. Choose another credential of {source}."

    @property
    def _is_restorable(self) -> bool:
        deletion = self.restored_from
        return deletion is not None and deletion.is_settled and pair_of(deletion) == self.pair

    def _problem_of_creating(self, credential: Credential) -> str:
        if self.snapshot:
            return "These orgs are already connected. Change the data types or the end instead."
        if credential.key_owner_is_service_account or credential.person_can_create:
            return ""
        if credential.key_owner_is_service_account is None:
            return _unknown_owner_problem(credential)
        return (
            f"{cause_text(Cause.CREATOR_IS_PERSON)} Use the keys of a service account, or ask "
            "an administrator to allow these keys to create connections."
        )

    def _problem_of_moving(self, credential: Credential) -> str:
        if credential.key_owner_is_service_account is None:
            return _unknown_owner_problem(credential)
        if not credential.key_owner_is_service_account:
            return f"{cause_text(Cause.CREATOR_IS_PERSON)} Use the keys of a service account."
        if not credential.is_write_granted:
            verify = "Grant it in Datadog, then verify the credential again."
            return f"{cause_text(Cause.WRITE_NOT_GRANTED)} {verify}"
        if self.has_its_creator:
            return "The owner of these keys is already the creator of the connection."
        return cause_text(Cause.CONNECTION_PROTECTED) if self.protection else ""

    def added(self, types: Iterable[str]) -> list[str]:
        """The data types among these that the connection doesn't have."""
        return sorted(set(types) - set(self.snapshot.connection_types if self.snapshot else ()))

    def removed(self, types: Iterable[str]) -> list[str]:
        """The data types that the connection has and these don't include."""
        return sorted(set(self.snapshot.connection_types if self.snapshot else ()) - set(types))

    @property
    def has_its_creator(self) -> bool:
        """Whether the owner of the credential's keys created the connection."""
        credential, snapshot = self.credential, self.snapshot
        if credential is None or snapshot is None or not credential.key_owner_id:
            return False
        return snapshot.creator_id == credential.key_owner_id

    @property
    def latest_end(self) -> int | None:
        """For how many days at most access can be requested. None without a limit."""
        limit: int | None = settings.ACCESS_MAX_DAYS
        return limit

    def latest_day(self, *, today: date) -> date | None:
        """The last day that can be requested today. None without a limit."""
        return today + timedelta(days=self.latest_end) if self.latest_end else None

    @property
    def form_digest(self) -> str:
        """SHA-256 of what is listed and agreed now, which the form of the page is about."""
        agreed = str(self.agreement.pk) if self.agreement else ""
        return _digest_of("access form, version 1", *self._listed, agreed, self.policy)

    @property
    def _listed(self) -> list[str | list[str]]:
        snapshot = self.snapshot or OrgConnectionSnapshot()
        return [
            self.kind,
            list(self.pair),
            [self.source_name, self.sink_name],
            str(self.credential.pk) if self.credential else "",
            str(snapshot.connection_id) if self.snapshot else "",
            sorted(snapshot.connection_types),
        ]

    def digest_of(self, terms: AccessTerms) -> str:
        """SHA-256 of what a person confirms and an approver approves."""
        return _digest_of(
            "access request, version 2",
            *self._listed,
            str(self.agreement_version),
            sorted(terms.types),
            str(terms.owner.pk) if terms.owner else "",
            terms.owner_text,
            terms.purpose,
            terms.ends_on.isoformat() if terms.ends_on else "",
            [*terms.as_agreed],
            self.policy,
        )


def _digest_of(*values: str | list[str]) -> str:
    return hashlib.sha256(json.dumps(values, ensure_ascii=True).encode()).hexdigest()


def _unknown_owner_problem(credential: Credential) -> str:
    unknown = (
        f"It isn't known yet whether the keys of {credential.name} belong to a service account."
    )
    if credential.key_check_due_at is None:
        return f"{unknown} A worker checks that within minutes. Open this page again then."
    return f"{unknown} Datadog didn't say so. Ask a Credential manager to check the keys."


class AccessChangedError(ConflictError):
    """Something differs from what the page showed. `current` is what it is now."""

    def __init__(self, message: str, *, current: AccessTarget) -> None:
        super().__init__(message)
        self.current = current


def find_target(
    *,
    actor: Actor,
    kind: RequestKind,
    pair: OrgPair,
    credential: Credential | None = None,
    restored_from: Deletion | None = None,
) -> AccessTarget:
    """What requesting this access would mean.

    Raises Http404 for a pair that the actor doesn't know, and PermissionDenied.
    """
    permissions.require(permissions.can_see(actor), "request access")
    if not visibility.knows_orgs(pair, actor=actor):
        require_pairs([pair], actor=actor)
    is_pair_visible = bool(visibility.visible_pairs([pair], actor=actor))
    orgs = dict(
        Org.objects.filter(
            site=pair.site, org_id__in=[pair.source_org_id, pair.sink_org_id]
        ).values_list("org_id", "name")
    )
    in_use = Credential.objects.filter(site=pair.site, retired_at=None)
    orgs_of_pair = {(pair.site, pair.source_org_id), (pair.site, pair.sink_org_id)}
    sending = visibility.visible(
        in_use.filter(org_id=pair.source_org_id).order_by("name"), actor=actor, by="pk"
    )
    usable = [each for each in sending if permissions.can_use(actor, credential_id=each.pk)]
    candidates = usable or list(sending)
    chosen = next((each for each in candidates if each == credential), None)
    chosen = chosen or (candidates[0] if candidates and credential is None else None)
    listed = visibility.visible(
        OrgConnectionSnapshot.objects.filter(
            **pair._asdict(), is_current=True, credential__retired_at=None
        ),
        actor=actor,
    )
    snapshot = listed.order_by("-last_seen_at").first()
    agreement = find_agreements([pair]).get(pair)
    return AccessTarget(
        kind=kind,
        pair=pair,
        source_name=orgs.get(pair.source_org_id, ""),
        sink_name=orgs.get(pair.sink_org_id, ""),
        credential=chosen,
        named_credential=credential,
        other_credentials=[each for each in candidates if each != chosen],
        snapshot=snapshot,
        agreement=agreement if is_pair_visible else None,
        agreement_version=agreement.version if agreement else 0,
        approved_end=find_automatic_end(pair, today=clock.now().date())
        if is_pair_visible
        else None,
        restored_from=restored_from,
        policy=strictest_policy(orgs_of_pair),
        open_request=find_open(AccessRequest, pair),
        protection=protections.find_protection(snapshot.key)
        if snapshot and kind in {RequestKind.CHANGE, RequestKind.MOVE}
        else None,
        can_confirm=chosen in usable,
    )
