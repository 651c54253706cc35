"""Who may see a credential, use it, or approve with it, where not everybody with the role may."""

import uuid
from collections import defaultdict
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Case, Max, Q, Value, When

from connections.models.credentials import Credential


class AccessKind(models.TextChoices):
    """What a list is about. An empty list admits everybody whose role allows it."""

    SEE = "see", "See"  # it, its connections and its deletions; the other two imply it
    USE = "use", "Use"  # ask for a deletion with it, confirm, check, close
    APPROVE = "approve", "Approve"  # approve or decline what is asked with it


class CredentialAccess(models.Model):
    """One entry of a credential's allow-list: a group, which is a role, or a person."""

    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, related_name="access")
    kind = models.CharField(max_length=8, choices=AccessKind)
    # Neither may go away by itself: a list that became empty would admit everybody.
    group = models.ForeignKey(Group, on_delete=models.PROTECT, null=True, related_name="+")
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(group__isnull=True) ^ Q(person__isnull=True),
                name="access_of_a_group_or_a_person",
            ),
            models.UniqueConstraint(
                fields=["credential", "kind", "group"], name="one_access_by_group"
            ),
            models.UniqueConstraint(
                fields=["credential", "kind", "person"], name="one_access_by_person"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.credential_id}"


@dataclass(frozen=True, kw_only=True)
class Visibility:
    """Which credentials are beyond a person, whatever their roles; each set by ids."""

    hidden: frozenset[uuid.UUID] = frozenset()
    unusable: frozenset[uuid.UUID] = frozenset()
    unapprovable: frozenset[uuid.UUID] = frozenset()


def visibility_of(*, person_id: uuid.UUID, sees_all: bool) -> Visibility:
    """What the lists of all credentials leave to a person; one query.

    `sees_all`: the record must be auditable, so auditors and administrators see everything. They
    use and approve like others.
    """
    is_theirs = Q(person=person_id) | Q(group__user=person_id)
    admits = Max(Case(When(is_theirs, then=Value(1)), default=Value(0)))
    lists: dict[uuid.UUID, dict[str, bool]] = defaultdict(dict)
    entries = CredentialAccess.objects.order_by().values_list("credential_id", "kind")
    for credential_id, kind, admitted in entries.annotate(admits=admits):
        lists[credential_id][kind] = bool(admitted)
    outside = {
        pk
        for pk, by_kind in lists.items()
        if AccessKind.SEE in by_kind and not any(by_kind.values())
    }

    def beyond(kind: AccessKind) -> frozenset[uuid.UUID]:
        return frozenset(
            outside | {pk for pk, by_kind in lists.items() if not by_kind.get(kind, True)}
        )

    return Visibility(
        hidden=frozenset() if sees_all else frozenset(outside),
        unusable=beyond(AccessKind.USE),
        unapprovable=beyond(AccessKind.APPROVE),
    )
