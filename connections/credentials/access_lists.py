"""A credential's access lists: who can see it, use it and approve with it."""

from itertools import chain
from uuid import UUID

from django.contrib.auth.models import Group
from django.db.models import F, Q

from connections import audit
from connections.access import approvers, permissions
from connections.access.actor import Actor
from connections.core.errors import InvalidInputError
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    Credential,
    CredentialAccess,
    Person,
    Role,
)

# An entry in the form that forms and events use: "role:Operator" or "person:<id>".
AccessEntries = dict[AccessKind, list[str]]


def get_access_entries(credential: Credential) -> AccessEntries:
    """The entries of each list, roles first. An empty list allows everyone whose role does."""
    entries: AccessEntries = {kind: [] for kind in AccessKind}
    rows = credential.access.select_related("group").order_by("group__name", "person_id")
    for entry in rows:
        name = f"role:{entry.group.name}" if entry.group else f"person:{entry.person_id}"
        entries[AccessKind(entry.kind)].append(name)
    return {kind: sorted(names, reverse=True) for kind, names in entries.items()}


def list_entry_choices(stored: AccessEntries) -> list[tuple[str, str]]:
    """Names and labels of possible entries: roles, active people, and the stored entries."""
    names = chain.from_iterable(stored.values())
    person_ids = [
        UUID(name.removeprefix("person:")) for name in names if name.startswith("person:")
    ]
    people = Person.objects.filter(Q(is_active=True) | Q(pk__in=person_ids)).order_by("username")
    return [
        *((f"role:{role.value}", role.value) for role in Role),
        *((f"person:{person.pk}", person.display_name) for person in people),
    ]


def change_access(*, actor: Actor, credential: Credential, wanted: AccessEntries) -> None:
    """Replace the stored entries with these.

    They also apply to deletions that are already requested.

    Raises PermissionDenied, and InvalidInputError for an entry that names no role or person.
    """
    permissions.require(permissions.can_administer(actor), "change access to a credential")
    rows = _build_rows(credential=credential, wanted=wanted)
    with audit.atomic():
        # `sending.claim` locks it too, so a claim either sees this change or precedes it.
        Credential.objects.select_for_update(no_key=True).get(pk=credential.pk)
        before = get_access_entries(credential)
        credential.access.all().delete()
        CredentialAccess.objects.bulk_create(rows)
        after = get_access_entries(credential)
        if before == after:
            return
        sentence = audit.Sentence(
            "{actor} changed the access lists of {credential}.",
            credential=credential.name,
        )
        _record_change(
            actor=actor, credential=credential, sentence=sentence, before=before, after=after
        )


def copy_access_of_org(*, actor: Actor, credential: Credential, org_id: str) -> None:
    """Copy the access lists of an org's first credential to one whose org was just found.

    So adding the org's keys again, or another user's keys, doesn't show the org to people whom
    those lists exclude. The first credential is the oldest one in use; if none is in use, the one
    that was retired last. Lists that the new credential already has stay. Call it inside a
    transaction.
    """
    same_org = Credential.objects.filter(site=credential.site, org_id=org_id)
    in_order = same_org.order_by(F("retired_at").desc(nulls_first=True), "created_at", "pk")
    first = in_order.exclude(pk=credential.pk).first()
    if first is None or credential.access.exists():
        return
    after = get_access_entries(first)
    if not any(after.values()):
        return
    before = get_access_entries(credential)
    CredentialAccess.objects.bulk_create(
        CredentialAccess(
            credential=credential, kind=entry.kind, group=entry.group, person=entry.person
        )
        for entry in first.access.select_related("group", "person")
    )
    sentence = audit.Sentence(
        "{credential} got the access lists of the first credential of its org.",
        credential=credential.name,
    )
    _record_change(
        actor=actor, credential=credential, sentence=sentence, before=before, after=after
    )


def is_excluded(*, actor: Actor, credential: Credential) -> bool:
    """Whether the stored access lists hide the credential from the actor."""
    if actor.person is None:
        return False
    people = permissions.people_who_can_see(credential_id=credential.pk)
    return not people.filter(pk=actor.person.pk).exists()


def _record_change(
    *,
    actor: Actor,
    credential: Credential,
    sentence: audit.Sentence,
    before: AccessEntries,
    after: AccessEntries,
) -> None:
    audit.record(
        code=audit.EventCode.CREDENTIAL_ACCESS_CHANGED,
        actor=actor,
        subject=credential,
        sentence=sentence,
        details={
            "before": {kind.value: names for kind, names in before.items()},
            "after": {kind.value: names for kind, names in after.items()},
        },
    )


def _build_rows(*, credential: Credential, wanted: AccessEntries) -> list[CredentialAccess]:
    groups = {f"role:{group.name}": group for group in Group.objects.all()}
    people = {f"person:{person.pk}": person for person in Person.objects.all()}
    rows = []
    for kind, names in wanted.items():
        for name in sorted(set(names)):
            group, person = groups.get(name), people.get(name)
            if group is None and person is None:
                raise InvalidInputError({kind.value: f"There is no {name}."})
            rows.append(
                CredentialAccess(credential=credential, kind=kind, group=group, person=person)
            )
    return rows


def list_access_warnings(credential: Credential) -> list[str]:
    """What no longer works because the access lists allow no suitable person."""
    warnings = []
    if not permissions.people_who_can_use(credential_id=credential.pk).exists():
        warnings.append("No one can request deletions: no active Operator has access.")
    approval = approvers.approval_warning(ApprovalPolicy(credential.policy), credential=credential)
    return [*warnings, approval] if approval else warnings
