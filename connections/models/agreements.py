"""Agreements: who answers for the access of a pair of orgs, for what, and until when."""

import uuid
from collections.abc import Iterable
from datetime import date, datetime
from typing import NamedTuple

from django.db import models
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Concat
from django.db.models.lookups import In

from connections.models.references import optional_person_reference


class OrgPair(NamedTuple):
    """Two orgs of a site: the one whose data is shared, and the one that queries it."""

    site: str
    source_org_id: str
    sink_org_id: str

    @property
    def reference(self) -> str:
        """As forms name it: "<site>/<source org ID>/<destination org ID>"."""
        return "/".join(self)


def of_these_pairs(pairs: Iterable[OrgPair]) -> Q:
    """Rows of exactly these pairs."""
    wanted = set(pairs)
    # The indexes find rows of these orgs, of which the database compares the pairs. SQLite's
    # planner fails at many alternatives (OR) if they can use a partial index.
    of_orgs = Q(
        site__in={pair.site for pair in wanted},
        source_org_id__in={pair.source_org_id for pair in wanted},
        sink_org_id__in={pair.sink_org_id for pair in wanted},
    )
    slash = Value("/")
    reference = Concat("site", slash, "source_org_id", slash, "sink_org_id")
    return of_orgs & Q(In(reference, [pair.reference for pair in wanted]))


class Agreement(models.Model):
    """One version of what was agreed about a pair of orgs. The newest version counts.

    It belongs to the pair, so it outlives a connection that is deleted and created again. Triggers
    only let versions be added. It has no copy of a person's name, because erasing the person would
    then have to change it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.CharField(max_length=100)
    source_org_id = models.CharField(max_length=64)
    sink_org_id = models.CharField(max_length=64)
    # Counted from 1 for each pair.
    version = models.PositiveIntegerField()
    # Who answers for the access: a person with an account, a text for a team or someone without
    # one, or both.
    owner = optional_person_reference()
    owner_text = models.CharField(max_length=200, blank=True)
    purpose = models.TextField()
    ticket = models.CharField(max_length=200, blank=True)
    # The last day of the agreement, in UTC. Null if it has no end.
    ends_on = models.DateField(null=True)
    # The agreed data types, sorted.
    connection_types = models.JSONField()
    set_at = models.DateTimeField()
    # Of a version that an access request set, its requester.
    set_by = optional_person_reference()
    # "command: root", for example, if no person set it.
    set_by_process = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ("site", "source_org_id", "sink_org_id", "-version")
        constraints = [
            models.UniqueConstraint(
                fields=["site", "source_org_id", "sink_org_id", "version"],
                name="one_version_of_an_agreement",
            ),
            models.CheckConstraint(
                condition=Q(owner__isnull=False) | ~Q(owner_text=""),
                name="an_agreement_has_an_owner",
            ),
            models.CheckConstraint(condition=~Q(purpose=""), name="an_agreement_has_a_purpose"),
            models.CheckConstraint(
                condition=Q(set_by__isnull=False, set_by_process="")
                | Q(set_by__isnull=True) & ~Q(set_by_process=""),
                name="an_agreement_is_set_by_one",
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.version} of {self.pair}"

    @property
    def pair(self) -> OrgPair:
        """The pair of orgs that it is about."""
        return OrgPair(self.site, self.source_org_id, self.sink_org_id)

    @property
    def decision(self) -> "OwnerDecision | None":
        """What its owner decided, if it wasn't the owner who set it. Select `owner_decision`."""
        return getattr(self, "owner_decision", None)

    @property
    def accepted_at(self) -> datetime | None:
        """When its owner accepted it. A version that its owner sets or requests is accepted."""
        if self.owner_id is not None and self.owner_id == self.set_by_id:
            return self.set_at
        return self.decision.accepted_at if self.decision else None

    @property
    def is_refused(self) -> bool:
        """Whether its owner says that it isn't theirs."""
        return self.decision is not None and not self.accepted_at

    def has_ended(self, *, today: date) -> bool:
        """Whether its last day has passed."""
        return self.ends_on is not None and self.ends_on < today


def newest_agreements() -> QuerySet[Agreement]:
    """The newest version of each pair's agreement."""
    later = Agreement.objects.filter(
        site=OuterRef("site"),
        source_org_id=OuterRef("source_org_id"),
        sink_org_id=OuterRef("sink_org_id"),
        version__gt=OuterRef("version"),
    )
    return Agreement.objects.filter(~Exists(later))


class OwnerDecision(models.Model):
    """The owner accepts this version of an agreement, or says that it isn't theirs.

    A version that its owner set needs none. Triggers only let decisions be added, and a version
    that was refused be accepted.
    """

    agreement = models.OneToOneField(
        Agreement, on_delete=models.PROTECT, primary_key=True, related_name="owner_decision"
    )
    accepted_at = models.DateTimeField(null=True)
    refused_at = models.DateTimeField(null=True)
    # Why it isn't theirs.
    reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(accepted_at__isnull=False, refused_at=None, reason="")
                | Q(refused_at__isnull=False) & ~Q(reason=""),
                name="an_owner_accepts_or_says_why_not",
            )
        ]

    def __str__(self) -> str:
        return f"owner's decision about {self.agreement_id}"


# Versions that their owner set or accepted, as `Agreement.accepted_at` says.
IS_ACCEPTED = Q(owner=F("set_by")) | Q(owner_decision__accepted_at__isnull=False)
# Versions that their owner has neither accepted nor refused.
AWAITS_OWNER = Q(owner__isnull=False, owner_decision=None) & ~Q(owner=F("set_by"))
# Versions of which their owner says that they aren't theirs, as `Agreement.is_refused` says.
IS_REFUSED = Q(owner_decision__refused_at__isnull=False, owner_decision__accepted_at=None)


class AgreementReminder(models.Model):
    """A reminder of an agreement's end, sent this many days before it."""

    agreement = models.ForeignKey(Agreement, on_delete=models.PROTECT, related_name="reminders")
    days = models.PositiveSmallIntegerField()
    sent_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["agreement", "days"], name="one_reminder_of_an_end")
        ]

    def __str__(self) -> str:
        return f"reminder {self.days} days before the end of {self.agreement_id}"
