"""Limits queries to what a person can see. Every service that reads data uses this module.

A credential's access list decides who sees it and its deletions. A connection is visible to people
who can see at least one credential that listed it. A request for a hidden object gets the same
response as one for an object that doesn't exist, and is recorded. Auditors and administrators see
everything, and so do commands and the worker, because they can read the key ring.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, F, Model, OuterRef, Q, QuerySet, prefetch_related_objects
from django.db.models.functions import Coalesce

from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.models import (
    SENDABLE,
    AccessKind,
    AccessRequest,
    AccessReview,
    AccessReviewRow,
    Agreement,
    Batch,
    BatchRow,
    Change,
    Credential,
    CredentialAccess,
    Deletion,
    Org,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    Protection,
    Role,
)

# Up to this many visible credentials, each gets its own query, which reads an index in order. With
# more credentials, a single query that skips hidden rows finds a page quickly.
MAX_QUERIES = 32


def visible[T: Model](rows: QuerySet[T], *, actor: Actor, by: str = "credential") -> QuerySet[T]:
    """The rows whose credential the actor can see.

    `by` is the field of the credential, "pk" for rows that are credentials.
    """
    hidden = visibility_of(actor).hidden
    return rows.exclude(**{f"{by}__in": hidden}) if hidden else rows


def usable_credentials(*, actor: Actor) -> QuerySet[Credential]:
    """The credentials in use that the actor can request deletions with."""
    in_use = Credential.objects.filter(retired_at=None)
    unusable = visibility_of(actor).unusable | visibility_of(actor).hidden
    return in_use.exclude(pk__in=unusable) if unusable else in_use


def usable_orgs(*, actor: Actor) -> set[tuple[str, str]]:
    """Site and ID of the orgs that have a credential which the actor can use."""
    return set(usable_credentials(actor=actor).values_list("site", "org_id"))


def visible_by_credential(rows: QuerySet[Deletion], *, actor: Actor) -> list[QuerySet[Deletion]]:
    """Queries that together find the visible deletions, each in the order of `rows`."""
    hidden = visibility_of(actor).hidden
    if not hidden:
        return [rows]
    credentials = list(Credential.objects.exclude(pk__in=hidden).values_list("pk", flat=True))
    if len(credentials) <= MAX_QUERIES:
        return [rows.filter(credential=pk) for pk in credentials]
    return [rows.exclude(credential__in=hidden)]


def is_visible(deletion: Deletion, *, actor: Actor) -> bool:
    """Whether the actor can see this deletion."""
    return deletion.credential_id not in visibility_of(actor).hidden


def visible_access_requests(*, actor: Actor) -> QuerySet[AccessRequest]:
    """The access requests whose credential the actor can see, and whose destination they know.

    The source org is known by its credential.
    """
    requests = visible(AccessRequest.objects.all(), actor=actor)
    if not visibility_of(actor).hidden:
        return requests
    orgs = visible_orgs(actor=actor).filter(site=OuterRef("site"), org_id=OuterRef("sink_org_id"))
    return requests.filter(Exists(orgs))


def visible_batches(*, actor: Actor) -> QuerySet[Batch]:
    """The bulk deletions where the actor can see the credential of every row to be sent.

    A bulk deletion without such rows is visible to the person who drafted it.
    """
    hidden = visibility_of(actor).hidden
    if not hidden:
        return Batch.objects.all()
    sent = BatchRow.objects.filter(SENDABLE, batch=OuterRef("pk"))
    is_own = Q(created_by=actor.person)
    return Batch.objects.exclude(Exists(sent.filter(credential__in=hidden))).filter(
        Exists(sent) | is_own
    )


def visible_batch_ids(deletions: Iterable[Deletion], *, actor: Actor) -> set[UUID]:
    """The IDs of these deletions' bulk deletions that the actor can see. At most one query."""
    batch_ids = {deletion.batch_id for deletion in deletions if deletion.batch_id}
    if not batch_ids or not visibility_of(actor).hidden:
        return batch_ids
    return set(visible_batches(actor=actor).filter(pk__in=batch_ids).values_list("pk", flat=True))


def visible_batch_rows(batch: Batch, *, actor: Actor) -> QuerySet[BatchRow]:
    """The rows of a visible bulk deletion that the actor can see, except removed ones.

    A row that can't be sent can belong to a credential that is hidden from the actor.
    """
    rows = batch.rows.filter(removed_at=None)
    hidden = visibility_of(actor).hidden
    return rows.exclude(credential__in=hidden) if hidden else rows


def visible_access_review_rows(
    rows: QuerySet[AccessReviewRow], *, actor: Actor
) -> QuerySet[AccessReviewRow]:
    """The rows whose connection was listed, by the closing, by a credential the actor can see."""
    hidden = visibility_of(actor).hidden
    if not hidden:
        return rows
    listed = OrgConnectionSnapshot.objects.filter(
        site=OuterRef("site"),
        connection_id=OuterRef("connection_id"),
        first_seen_at__lte=Coalesce(OuterRef("review__closed_at"), F("first_seen_at")),
    )
    return rows.filter(Exists(listed.exclude(credential__in=hidden)))


def visible_access_reviews(*, actor: Actor) -> QuerySet[AccessReview]:
    """The access reviews with at least one row that the actor can see."""
    if not visibility_of(actor).hidden:
        return AccessReview.objects.all()
    rows = AccessReviewRow.objects.filter(review=OuterRef("pk"))
    return AccessReview.objects.filter(Exists(visible_access_review_rows(rows, actor=actor)))


def visible_access_review_ids(ids: Iterable[UUID], *, actor: Actor) -> set[UUID]:
    """The IDs of these access reviews that the actor can see. At most one query."""
    review_ids = set(ids)
    if not review_ids or not visibility_of(actor).hidden:
        return review_ids
    reviews = visible_access_reviews(actor=actor).filter(pk__in=review_ids)
    return set(reviews.values_list("pk", flat=True))


def visible_orgs(*, actor: Actor) -> QuerySet[Org]:
    """The orgs that the actor knows from a credential they can see.

    A credential makes its own org known, both orgs of every connection it listed, and its list of
    managed orgs.
    """
    hidden = visibility_of(actor).hidden
    if not hidden:
        return Org.objects.all()
    here, org_id = {"site": OuterRef("site")}, OuterRef("org_id")
    own = Credential.objects.filter(**here, org_id=org_id).exclude(pk__in=hidden)
    listed = OrgConnectionSnapshot.objects.filter(**here).exclude(credential__in=hidden)
    managing = Org.managed_by.through.objects.filter(org=OuterRef("pk"))
    return Org.objects.filter(
        Exists(own)
        | Exists(listed.filter(source_org_id=org_id))
        | Exists(listed.filter(sink_org_id=org_id))
        | Exists(managing.exclude(credential__in=hidden))
    )


def knows_orgs(pair: OrgPair, *, actor: Actor) -> bool:
    """Whether the actor knows both orgs of the pair, whether or not they see a connection."""
    orgs = visible_orgs(actor=actor).filter(site=pair.site)
    ids = {pair.source_org_id, pair.sink_org_id}
    return set(orgs.filter(org_id__in=ids).values_list("org_id", flat=True)) == ids


def people_who_know_org(people: QuerySet[Person], *, site: str, org_id: str) -> QuerySet[Person]:
    """The people among these who can see every credential, or one that makes this org known."""
    hidden = hidden_from(people)
    if not any(hidden.values()):
        return people
    listed = OrgConnectionSnapshot.objects.filter(site=site, credential=OuterRef("pk"))
    managing = Org.managed_by.through.objects.filter(
        org__site=site, org__org_id=org_id, credential=OuterRef("pk")
    )
    known_by = Credential.objects.filter(
        Q(site=site, org_id=org_id)
        | Exists(listed.filter(source_org_id=org_id))
        | Exists(listed.filter(sink_org_id=org_id))
        | Exists(managing)
    )
    showing = set(known_by.values_list("pk", flat=True))
    return people.filter(
        pk__in=[pk for pk, unseen in hidden.items() if not unseen or showing - unseen]
    )


def visible_changes(changes: QuerySet[Change], *, actor: Actor) -> QuerySet[Change]:
    """The changes of connections and orgs that the actor can see."""
    hidden = visibility_of(actor).hidden
    if not hidden:
        return changes
    here = {"site": OuterRef("site")}
    listed = OrgConnectionSnapshot.objects.filter(**here).exclude(credential__in=hidden)
    orgs = visible_orgs(actor=actor).filter(**here, org_id=OuterRef("org_id"))
    return changes.filter(
        Exists(listed.filter(connection_id=OuterRef("connection_id")))
        | Q(connection_id=None) & Exists(orgs)
    )


def visible_pairs(pairs: Collection[OrgPair], *, actor: Actor) -> set[OrgPair]:
    """The pairs among these that the actor knows, and whose connections aren't hidden from them.

    A credential that they can see has listed the pair. If none is hidden from them, both orgs being
    known is enough: they could otherwise tell a hidden pair from one that doesn't exist.
    """
    found, missing = set[OrgPair](), set(pairs)
    sites = {pair.site for pair in missing}
    if not visibility_of(actor).hidden:
        orgs = Org.objects.filter(site__in=sites).order_by()
        known = set(orgs.values_list("site", "org_id"))
        found = {pair for pair in missing if {pair[:2], (pair.site, pair.sink_org_id)} <= known}
        missing -= found
    # An org is known once a complete sync has listed it, which is later than its connections.
    if missing:
        listed = OrgConnectionSnapshot.objects.filter(
            site__in=sites,
            source_org_id__in={pair.source_org_id for pair in missing},
            sink_org_id__in={pair.sink_org_id for pair in missing},
        )
        rows = visible(listed, actor=actor).order_by()
        columns = rows.values_list("site", "source_org_id", "sink_org_id").distinct()
        found |= missing & {OrgPair(*row) for row in columns}
    return found


def visible_agreements(agreements: QuerySet[Agreement], *, actor: Actor) -> QuerySet[Agreement]:
    """The agreements about pairs with a connection that the actor can see, now or earlier."""
    hidden = visibility_of(actor).hidden
    if not hidden:
        return agreements
    listed = OrgConnectionSnapshot.objects.filter(
        site=OuterRef("site"),
        source_org_id=OuterRef("source_org_id"),
        sink_org_id=OuterRef("sink_org_id"),
    )
    return agreements.filter(Exists(listed.exclude(credential__in=hidden)))


def hidden_connections(
    keys: list[OrgConnectionKey], *, actor: Actor, until: datetime | None = None
) -> set[OrgConnectionKey]:
    """The connections among these that only hidden credentials listed, ever or until this time."""
    hidden = visibility_of(actor).hidden
    if not hidden or not keys:
        return set()
    listed_by = listing_credentials(keys, until=until)
    return {key for key in keys if key in listed_by and listed_by[key] <= hidden}


def listing_credentials(
    keys: Collection[OrgConnectionKey], *, until: datetime | None = None
) -> dict[OrgConnectionKey, set[UUID]]:
    """The credentials that have listed each of these connections, ever or until this time."""
    snapshots = OrgConnectionSnapshot.objects.filter(
        connection_id__in=[key.connection_id for key in keys]
    )
    if until:
        snapshots = snapshots.filter(first_seen_at__lte=until)
    rows = snapshots.order_by().values_list("site", "connection_id", "credential").distinct()
    listed_by: dict[OrgConnectionKey, set[UUID]] = {}
    for site, connection_id, credential in rows:
        key = OrgConnectionKey(site=site, connection_id=connection_id)
        listed_by.setdefault(key, set()).add(credential)
    return listed_by


def hidden_from(people: Iterable[Person]) -> dict[UUID, frozenset[UUID]]:
    """The credentials hidden from each of these people, as in `Person.visibility`.

    At most two queries in addition to that of the people.
    """
    people = list(people)
    # Administrators see everything.
    others = [person for person in people if not person.is_superuser]
    # By credential: the people and groups on any of its lists, as each of them includes seeing.
    admitted = defaultdict[UUID, set[UUID | int]](set)
    limited = set[UUID]()
    columns = ("credential_id", "kind", "person_id", "group_id")
    entries = CredentialAccess.objects.order_by().values_list(*columns) if others else ()
    for pk, kind, *entry in entries:
        admitted[pk].update(entry)
        if kind == AccessKind.SEE:
            limited.add(pk)
    hidden = dict.fromkeys((person.pk for person in people), frozenset[UUID]())
    if limited:
        prefetch_related_objects(others, "groups")
        for person in others:
            groups = {group.pk: group.name for group in person.groups.all()}
            if Role.AUDITOR not in groups.values():
                theirs = {person.pk, *groups}
                outside = (pk for pk in limited if admitted[pk].isdisjoint(theirs))
                hidden[person.pk] = frozenset(outside)
    return hidden


def sees_credential(person: OuterRef) -> Q:
    """Whether this person sees a row's `credential`: `hidden_from` as a condition of a query."""
    entries = CredentialAccess.objects.filter(credential=OuterRef("credential"))
    sees_all = Q(is_superuser=True) | Q(groups__name=Role.AUDITOR)
    return (
        Q(~Exists(entries.filter(kind=AccessKind.SEE)))
        | Exists(entries.filter(Q(person=person) | Q(group__user=person)))
        | Exists(Person.objects.filter(sees_all, pk=person))
    )


def visible_protections(
    protections: dict[OrgConnectionKey, Protection], *, actor: Actor
) -> dict[OrgConnectionKey, Protection]:
    """The protections among these whose connections are visible."""
    hidden = hidden_connections(list(protections), actor=actor)
    return {key: protection for key, protection in protections.items() if key not in hidden}
