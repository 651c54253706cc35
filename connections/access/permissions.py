"""Who can do what: one function per action, deny by default.

A person can have several roles. An administrator (superuser) has every role, and only
administrators can manage people, roles and policies. Commands and the worker can do what their
process could do anyway, but never approve.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet

from connections.access.actor import Actor
from connections.models import (
    AccessKind,
    AccessReview,
    Assignment,
    Batch,
    ChangeRequest,
    CredentialAccess,
    Deletion,
    Person,
    Protection,
    Role,
    Visibility,
)

REVIEWER_ROLES = (Role.OPERATOR, Role.APPROVER, Role.AUDITOR)


def _has_role(actor: Actor, *roles: Role) -> bool:
    if actor.person is None:
        return actor.kind in {"command", "worker"}
    return actor.person.is_active and not actor.person.roles.isdisjoint(roles)


def visibility_of(actor: Actor) -> Visibility:
    """What access lists hide from or deny this actor. Nothing for commands and the worker."""
    return actor.person.visibility if actor.person else Visibility()


def can_see(actor: Actor) -> bool:
    """See the overview, inventory, credentials and deletions: any role."""
    return _has_role(actor, *Role)


def can_see_everything(actor: Actor) -> bool:
    """See totals over all credentials. Requires that no credential is hidden from the actor."""
    return can_see(actor) and not visibility_of(actor).hidden


def can_sync(actor: Actor) -> bool:
    """Sync the inventory with Datadog."""
    return _has_role(actor, Role.OPERATOR, Role.APPROVER, Role.CREDENTIAL_MANAGER)


def can_delete(actor: Actor) -> bool:
    """Request, confirm, check and close deletions."""
    return _has_role(actor, Role.OPERATOR)


def can_use(actor: Actor, *, credential_id: UUID) -> bool:
    """`can_delete` with this credential: its access list must allow it too."""
    return can_delete(actor) and credential_id not in visibility_of(actor).unusable


def can_use_all(actor: Actor, *, credential_ids: Collection[UUID]) -> bool:
    """`can_use` with each of these credentials."""
    return can_delete(actor) and visibility_of(actor).unusable.isdisjoint(credential_ids)


def can_approve_any(actor: Actor) -> bool:
    """Approve or decline other people's deletions and access requests; commands never can."""
    return actor.person is not None and _has_role(actor, Role.APPROVER)


def can_approve(actor: Actor, *, change_request: ChangeRequest) -> bool:
    """Approve or decline this request if its access list allows it. Never one's own."""
    return (
        can_approve_any(actor)
        and actor.person is not None
        and change_request.requested_by_id != actor.person.pk
        and change_request.credential_id not in visibility_of(actor).unapprovable
    )


def can_approve_batch(actor: Actor, *, batch: Batch) -> bool:
    """Approve this bulk deletion: every row of it, and never one's own."""
    return can_decline_batch(actor, batch=batch) and visibility_of(actor).unapprovable.isdisjoint(
        batch.sending_credential_ids
    )


def can_decline_batch(actor: Actor, *, batch: Batch) -> bool:
    """Decline this visible bulk deletion: never one's own."""
    return (
        can_approve_any(actor)
        and actor.person is not None
        and actor.person.pk not in {batch.requested_by_id, batch.created_by_id}
    )


def can_stop_batch(actor: Actor, *, batch: Batch) -> bool:
    """Pause or cancel this visible bulk deletion: an Approver, or its own requester."""
    if actor.person is None:
        return actor.kind == "command"
    is_own = actor.person.pk in {batch.requested_by_id, batch.created_by_id}
    return can_approve_any(actor) or (is_own and can_delete(actor))


def can_stop_any_batch(actor: Actor) -> bool:
    """Pause or cancel bulk deletions: one's own or, as an Approver, anyone's."""
    return actor.person is not None and _has_role(actor, Role.OPERATOR, Role.APPROVER)


def filter_by_access_list(
    people: QuerySet[Person], *, credential_id: UUID, kind: AccessKind
) -> QuerySet[Person]:
    """The people among these whom a credential's access list of this kind allows."""
    entries = CredentialAccess.objects.filter(credential=credential_id)
    of_person = entries.filter(Q(person=OuterRef("pk")) | Q(group__user=OuterRef("pk")))
    # People who can use or approve can also see, so any entry counts for seeing.
    sees = ~Exists(entries.filter(kind=AccessKind.SEE)) | Exists(of_person)
    if kind == AccessKind.SEE:
        return people.filter(sees)
    # The other kinds use their own list or, if it is empty, the list of people who can see.
    has_own_list = Exists(entries.filter(kind=kind))
    return people.filter(Exists(of_person.filter(kind=kind)) | ~has_own_list & sees)


def people_who_can_delete() -> QuerySet[Person]:
    """The people for whom `can_delete` is true."""
    return _with_role(Role.OPERATOR)


def people_who_can_use(*, credential_id: UUID) -> QuerySet[Person]:
    """The people for whom `can_use` is true."""
    return filter_by_access_list(
        people_who_can_delete(), credential_id=credential_id, kind=AccessKind.USE
    )


def _with_role(*roles: Role) -> QuerySet[Person]:
    """The active people with one of these roles, without accounts for programs."""
    of_role = Person.groups.through.objects.filter(person=OuterRef("pk"), group__name__in=roles)
    has_role = Exists(of_role) | Q(is_superuser=True)
    return Person.objects.filter(has_role, is_active=True, is_program=False)


def people_who_can_see(*, credential_id: UUID) -> QuerySet[Person]:
    """The people who can see a credential and its deletions: the inverse of `Person.visibility`."""
    listed = filter_by_access_list(
        Person.objects.all(), credential_id=credential_id, kind=AccessKind.SEE
    )
    auditors = Q(groups__name=Role.AUDITOR) | Q(is_superuser=True)
    sees = Q(pk__in=listed.values("pk")) | Q(pk__in=Person.objects.filter(auditors).values("pk"))
    return Person.objects.filter(sees)


def people_who_can_approve_with(
    *, credential_id: UUID | None, excluded: UUID | None = None
) -> QuerySet[Person]:
    """The active people who can approve deletions, except the requester `excluded`.

    With `credential_id`, only those whom this credential's access list allows.
    """
    people = _with_role(Role.APPROVER)
    if credential_id:
        people = filter_by_access_list(people, credential_id=credential_id, kind=AccessKind.APPROVE)
    return people.exclude(pk=excluded) if excluded else people


def people_who_can_approve_batch(*, batch: Batch) -> QuerySet[Person]:
    """The people for whom `can_approve_batch` is true, whether or not they have decided already."""
    people = people_who_can_approve_with(credential_id=None).exclude(
        pk__in=[pk for pk in (batch.requested_by_id, batch.created_by_id) if pk]
    )
    for credential_id in batch.sending_credential_ids:
        people = filter_by_access_list(people, credential_id=credential_id, kind=AccessKind.APPROVE)
    return people


def can_break_glass_any(actor: Actor) -> bool:
    """Use break glass on any deletion: an Operator with this permission, which no role includes."""
    return actor.person is not None and actor.person.has_break_glass and can_delete(actor)


def can_break_glass(actor: Actor, *, deletion: Deletion) -> bool:
    """Send this deletion without the missing approvals.

    Requires the Operator role, the break-glass permission and a place on the credential's access
    list. Administrators need the permission like anyone else, commands never can, and rows of a
    bulk deletion can't be sent this way.
    """
    if deletion.batch_id is not None:
        return False
    has_permission = actor.person is not None and actor.person.has_break_glass
    return has_permission and can_use(actor, credential_id=deletion.credential_id)


def can_give_late_approval(actor: Actor, *, deletion: Deletion) -> bool:
    """Give the late approval of break glass: never the person who used it, never the requester."""
    if actor.person is None or not can_approve_any(actor):
        return False
    if deletion.credential_id in visibility_of(actor).unapprovable:
        return False
    return actor.person.pk not in {deletion.break_glass_by_id, deletion.requested_by_id}


def can_withdraw_any(actor: Actor) -> bool:
    """Withdraw deletions: one's own or, as an Approver, anyone's."""
    return actor.person is not None and _has_role(actor, Role.OPERATOR, Role.APPROVER)


def can_withdraw(actor: Actor, *, change_request: ChangeRequest) -> bool:
    """Withdraw this request: its requester, or an Approver who can see it."""
    if actor.person is None:
        return actor.kind == "command"
    if change_request.credential_id in visibility_of(actor).hidden:
        return False
    is_own = change_request.requested_by_id == actor.person.pk
    can_request = can_delete if isinstance(change_request, Deletion) else can_request_access
    return (is_own and can_request(actor)) or can_approve_any(actor)


def can_request_access(actor: Actor) -> bool:
    """Request access between orgs that the actor sees, and withdraw one's own: any role."""
    return can_see(actor)


def can_protect(actor: Actor) -> bool:
    """Protect connections. Protecting is safe, so more roles can do it than can undo it."""
    return actor.person is not None and _has_role(
        actor, Role.OPERATOR, Role.APPROVER, Role.CREDENTIAL_MANAGER
    )


def can_unprotect_any(actor: Actor) -> bool:
    """Remove other people's protections; commands never can."""
    return actor.person is not None and _has_role(actor, Role.APPROVER)


def can_unprotect(actor: Actor, *, protection: Protection) -> bool:
    """Remove this protection: never one's own."""
    return (
        can_unprotect_any(actor)
        and actor.person is not None
        and protection.protected_by_id != actor.person.pk
    )


def can_set_agreements(actor: Actor) -> bool:
    """Set agreements where a credential of either org is usable. Its owner can do part of it."""
    return can_delete(actor)


def can_comment(actor: Actor) -> bool:
    """Comment on deletions."""
    return _has_role(actor, Role.OPERATOR, Role.APPROVER, Role.AUDITOR)


def can_acknowledge(actor: Actor) -> bool:
    """Acknowledge changes; commands never can."""
    return actor.person is not None and _has_role(actor, Role.OPERATOR, Role.APPROVER, Role.AUDITOR)


def can_manage_access_reviews(actor: Actor) -> bool:
    """Start, close and export access reviews; commands never can."""
    return actor.person is not None and _has_role(actor, Role.AUDITOR)


def can_be_reviewer(actor: Actor) -> bool:
    """Decide in access reviews; commands never can."""
    return actor.person is not None and _has_role(actor, *REVIEWER_ROLES)


def can_decide(actor: Actor, *, review: AccessReview) -> bool:
    """Decide in this access review: named reviewers or, without any, everyone who can be one.

    By owners, also those who decide on their own connections, with any role.
    """
    if can_be_reviewer(actor):
        return review.is_for_everyone or review.reviewers.filter(person=actor.person).exists()
    is_by_owners = review.assignment == Assignment.OWNERS
    return is_by_owners and can_see(actor) and review.rows.filter(owner=actor.person).exists()


def possible_reviewers() -> QuerySet[Person]:
    """The active people for whom `can_be_reviewer` is true."""
    return _with_role(*REVIEWER_ROLES)


def possible_owners() -> QuerySet[Person]:
    """The active people who can decide on their own connections: with any role."""
    return _with_role(*Role)


def find_owner_problem(person: Person) -> str | None:
    """Why this person can't be named as the owner of access or of an org, as a sentence."""
    if not person.is_active:
        return f"The account of {person} is disabled. Choose someone else."
    return f"{person} is a program. Choose a person." if person.is_program else None


def deciders_of(review: AccessReview) -> QuerySet[Person]:
    """The active people for whom `can_decide` is true."""
    deciders = Q(pk__in=reviewers_of(review).values("pk"))
    if review.assignment == Assignment.OWNERS:
        own = review.rows.filter(owner__isnull=False).values("owner")
        deciders |= Q(pk__in=possible_owners().filter(pk__in=own).values("pk"))
    return Person.objects.filter(deciders)


def reviewers_of(review: AccessReview) -> QuerySet[Person]:
    """Those of them who can decide on every connection that no owner alone decides on."""
    people = possible_reviewers()
    if review.is_for_everyone:
        return people
    return people.filter(pk__in=review.reviewers.values("person"))


def can_manage_credentials(actor: Actor) -> bool:
    """Add, verify, rename, rotate and retire credentials."""
    return _has_role(actor, Role.CREDENTIAL_MANAGER)


def can_export(actor: Actor) -> bool:
    """Export inventory and deletions."""
    return _has_role(actor, Role.OPERATOR, Role.APPROVER, Role.AUDITOR)


def can_audit(actor: Actor) -> bool:
    """Read the audit log and evidence."""
    return _has_role(actor, Role.AUDITOR)


def can_administer(actor: Actor) -> bool:
    """Manage people, roles and policies."""
    if actor.person is None:
        return actor.kind == "command"
    return actor.person.is_active and actor.person.is_superuser


def requires_mfa(person: Person) -> bool:
    """Whether ORGADMIN_REQUIRE_MFA applies: to every role but Viewer, who changes nothing."""
    return bool(person.roles - {Role.VIEWER})


class OwnRequestError(PermissionDenied):
    """The person requested it, so no role lets them approve it."""

    def __init__(self) -> None:
        super().__init__("You requested this. Another person must approve it.")


def denied(what: str) -> PermissionDenied:
    """The refusal of what isn't allowed; `what` completes "permission to …"."""
    return PermissionDenied(f"You don't have permission to {what}.")


def require(is_allowed: bool, what: str) -> None:
    """Raise PermissionDenied unless `is_allowed`; `what` is as for `denied`."""
    if not is_allowed:
        raise denied(what)


@dataclass(frozen=True, kw_only=True)
class Permission:
    """One of the functions above as a URL's permission. `action` completes "permission to …"."""

    is_held_by: Callable[[Actor], bool]
    action: str

    def require(self, actor: Actor) -> None:
        """Raise PermissionDenied unless the actor has it."""
        require(self.is_held_by(actor), self.action)


SEE = Permission(is_held_by=can_see, action="see this")
SEE_EVERYTHING = Permission(is_held_by=can_see_everything, action="see the metrics")
SYNC = Permission(is_held_by=can_sync, action="sync the inventory")
DELETE = Permission(is_held_by=can_delete, action="delete connections")
WITHDRAW = Permission(is_held_by=can_withdraw_any, action="withdraw deletions")
APPROVE = Permission(is_held_by=can_approve_any, action="approve or decline deletions")
REQUEST_ACCESS = Permission(is_held_by=can_request_access, action="request access")
CONFIRM_ACCESS = Permission(is_held_by=can_delete, action="confirm, check or close access requests")
APPROVE_ACCESS = Permission(is_held_by=can_approve_any, action="approve or decline access requests")
BREAK_GLASS = Permission(is_held_by=can_break_glass_any, action="use break glass")
STOP_BATCH = Permission(is_held_by=can_stop_any_batch, action="pause or cancel bulk deletions")
COMMENT = Permission(is_held_by=can_comment, action="comment on deletions")
PROTECT = Permission(is_held_by=can_protect, action="protect connections")
UNPROTECT = Permission(is_held_by=can_unprotect_any, action="remove protections")
SET_DETAILS = Permission(is_held_by=can_delete, action="set groups and owners of orgs")
ACKNOWLEDGE = Permission(is_held_by=can_acknowledge, action="acknowledge changes")
MANAGE_ACCESS_REVIEWS = Permission(
    is_held_by=can_manage_access_reviews, action="start, close or export access reviews"
)
EXPORT = Permission(is_held_by=can_export, action="export this")
MANAGE_CREDENTIALS = Permission(is_held_by=can_manage_credentials, action="manage credentials")
AUDIT = Permission(is_held_by=can_audit, action="read the audit log")
ADMINISTER = Permission(is_held_by=can_administer, action="administer Org Admin")
