"""The access lists of credentials, and what they keep from a person."""

import uuid
from collections import defaultdict
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Case, Max, Q, Value, When


class AccessKind(models.TextChoices):
    """What an access list permits. An empty list permits everyone whose role allows it."""

    # The credential, its connections and deletions. The other two kinds include this.
    SEE = "see"
    USE = "use"  # request, confirm, check and close deletions that use it
    APPROVE = "approve"  # approve or decline deletions that use it


class CredentialAccess(models.Model):
    """One entry of a credential's access list: a group (that is, a role) or a person."""

    credential = models.ForeignKey(
        "connections.Credential", on_delete=models.PROTECT, related_name="access"
    )
    kind = models.CharField(max_length=8, choices=AccessKind)
    # PROTECT, because a list that lost its last entry would permit everyone.
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
    """The IDs of the credentials that a person can't see, use or approve with."""

    hidden: frozenset[uuid.UUID] = frozenset()
    unusable: frozenset[uuid.UUID] = frozenset()
    unapprovable: frozenset[uuid.UUID] = frozenset()


def visibility_of(*, person_id: uuid.UUID, sees_all: bool) -> Visibility:
    """What the access lists of all credentials keep from a person. Runs one query.

    `sees_all` is for auditors and administrators, who see everything so that it can be audited.
    Access lists still limit what they use and approve.
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

    def excluded(kind: AccessKind) -> frozenset[uuid.UUID]:
        return frozenset(
            outside | {pk for pk, by_kind in lists.items() if not by_kind.get(kind, True)}
        )

    return Visibility(
        hidden=frozenset() if sees_all else frozenset(outside),
        unusable=excluded(AccessKind.USE),
        unapprovable=excluded(AccessKind.APPROVE),
    )
