"""Groups and owners of orgs."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import batched
from typing import TypedDict

from django.db.models import QuerySet

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.audit import EventCode, Sentence, personal_data
from connections.core import clock
from connections.core.csv_import import ImportResult, Outcome, import_csv
from connections.core.errors import InvalidInputError
from connections.core.sites import find_site
from connections.core.typed_text import find_text_problem
from connections.inventory.matching import KnownOrg
from connections.inventory.orgs import list_known_orgs
from connections.inventory.rate_limits import OrgKey
from connections.lookups.objects import raise_org_not_found
from connections.models import Credential, Org, Person

MAX_ORGS = 1000
MAX_GROUP_LENGTH = 60
WHO_CAN = "set the group and owner of this org"
COLUMNS = ("site", "org", "group", "owner")
# In one transaction, for as long as SQLite's other writers can wait.
LINES_TOGETHER = 100


class OrgDetails(TypedDict, total=False):
    """What to set. A field that is missing stays."""

    # "" for none.
    group: str
    owner: Person | None


def set_org_details(*, actor: Actor, orgs: Collection[OrgKey], details: OrgDetails) -> list[Org]:
    """Set these details of all of these orgs, or of none. Return the orgs that changed.

    Raises Http404 for an org that the actor doesn't know, PermissionDenied, and InvalidInputError
    for `org` and the fields of OrgDetails.
    """
    keys = list(dict.fromkeys(orgs))
    if not keys:
        raise InvalidInputError({"org": "Select at least 1 org."})
    if len(keys) > MAX_ORGS:
        raise InvalidInputError({"org": f"Select at most {MAX_ORGS:,} orgs."})
    _require_known(keys, actor=actor)
    allowed = can_set(actor=actor, orgs=keys)
    permissions.require(len(allowed) == len(keys), WHO_CAN)
    details = _clean(details)
    with audit.atomic():
        stored = _lock_orgs(keys)
        for org in stored:
            if problem := _find_owner_problem(org, details):
                raise problem
        changed = [org for org in stored if _change(org, details, actor=actor)]
        Org.objects.bulk_update(changed, ["group", "owner"])
    return changed


def can_set(*, actor: Actor, orgs: Collection[OrgKey]) -> set[OrgKey]:
    """The orgs among these whose group and owner the actor can set. At most one query."""
    if permissions.can_administer(actor):
        return set(orgs)
    if not permissions.can_delete(actor):
        return set()
    usable = visibility.usable_orgs(actor=actor)
    return {org for org in orgs if (org.site, org.org_id) in usable}


def _require_known(keys: Sequence[OrgKey], *, actor: Actor) -> None:
    sites = {key.site for key in keys}
    known = visibility.visible_orgs(actor=actor).filter(site__in=sites).order_by()
    own = visibility.visible(Credential.objects.filter(site__in=sites), actor=actor, by="pk")
    seen = {*known.values_list("site", "org_id"), *own.values_list("site", "org_id")}
    for key in keys:
        if not key.org_id or (key.site, key.org_id) not in seen:
            raise_org_not_found(actor=actor, site=key.site, org_id=key.org_id)


def _clean(details: OrgDetails) -> OrgDetails:
    cleaned = details.copy()
    if "group" in details:
        text = cleaned["group"] = " ".join(details["group"].split())
        problem = text and find_text_problem(
            text, missing="Enter a group.", noun="group", max_length=MAX_GROUP_LENGTH
        )
        if problem:
            raise InvalidInputError({"group": problem})
    return cleaned


def _find_owner_problem(org: Org, details: OrgDetails) -> InvalidInputError | None:
    owner = details.get("owner")
    if owner is None or org.owner_id == owner.pk:
        return None
    problem = permissions.find_owner_problem(owner)
    return InvalidInputError({"owner": problem}) if problem else None


def _lock_orgs(keys: Collection[OrgKey]) -> list[Org]:
    """The rows of these orgs, in a fixed order. An org that was never synced gets one."""
    now = clock.now()
    Org.objects.bulk_create(
        (
            Org(site=key.site, org_id=key.org_id, first_seen_at=now, established_at=now)
            for key in keys
        ),
        ignore_conflicts=True,
    )
    rows = _rows_of(keys).select_for_update(no_key=True, of=("self",))
    return [org for org in rows.order_by("pk") if OrgKey(site=org.site, org_id=org.org_id) in keys]


def _rows_of(keys: Collection[OrgKey]) -> QuerySet[Org]:
    """The stored rows of these orgs with their owners, and maybe others of their sites."""
    sites, ids = {key.site for key in keys}, {key.org_id for key in keys}
    return Org.objects.filter(site__in=sites, org_id__in=ids).select_related("owner")


def _set_details(org: Org, details: OrgDetails) -> list[str]:
    """Set the details of the unsaved row. Returns what changed, in words."""
    group, owner = org.group, org.owner
    org.group, org.owner = details.get("group", group), details.get("owner", owner)
    changes = [f"Group {group or 'none'} → {org.group or 'none'}"] if org.group != group else []
    if org.owner != owner:
        changes.append(f"Owner {owner or 'nobody'} → {org.owner or 'nobody'}")
    return changes


def _change(org: Org, details: OrgDetails, *, actor: Actor) -> bool:
    """Change the org and record it. Returns whether anything is different."""
    group, owner = org.group, org.owner
    if not _set_details(org, details):
        return False
    sentence = Sentence("{actor} changed the details of {org}.", org=org.name or org.org_id)
    if org.group != group:
        sentence = sentence.followed_by(
            Sentence("Its group is {group}.", group=org.group or "none")
        )
    if org.owner != owner:
        name = personal_data.name_of(org.owner) if org.owner else "nobody"
        sentence = sentence.followed_by(Sentence("Its owner is {owner}.", owner=name))
    audit.record(
        code=EventCode.ORG_DETAILS_SET,
        actor=actor,
        subject=org,
        sentence=sentence,
        details={
            "site": org.site,
            "group": org.group,
            "previous_group": group,
            "owner": str(org.owner.pk) if org.owner else None,
            "previous_owner": str(owner.pk) if owner else None,
        },
    )
    return True


# --- Import -------------------------------------------------------------------------------------


def import_org_groups(*, actor: Actor, content: bytes, is_preview: bool = False) -> ImportResult:
    """Set the group and owner that each line has; an empty cell clears. A preview sets nothing.

    Columns: `site`, `org` (an ID, or a name that only one org of the site has), `group` and `owner`
    (a username). Raises InvalidInputError for `file`.
    """
    orgs, find_person = list_known_orgs(actor=actor), cache(find_owner)

    def parse(row: dict[str, str]) -> _Line:
        try:
            org = find_by_id_or_name(orgs, site=row["site"], text=row["org"])
            details = _clean({"group": row["group"], "owner": find_person(row["owner"])})
            return OrgKey(site=org.site, org_id=org.org_id), details
        except InvalidInputError as error:
            return error

    def apply_all(rows: list[dict[str, str]]) -> Iterator[Outcome]:
        # A preview stores nothing, so lines can build on earlier ones only within one part.
        size = len(rows) or 1 if is_preview else LINES_TOGETHER
        for part in batched(map(parse, rows), size):
            yield from _apply(part, actor=actor, is_preview=is_preview)

    return import_csv(content, columns=COLUMNS, apply_all=apply_all, named_by=("site", "org"))


type _Line = tuple[OrgKey, OrgDetails] | InvalidInputError


def _apply(part: Sequence[_Line], *, actor: Actor, is_preview: bool) -> list[Outcome]:
    """Set what these lines say, in one transaction."""
    keys = dict.fromkeys(line[0] for line in part if isinstance(line, tuple))
    allowed = can_set(actor=actor, orgs=keys)
    if is_preview:
        unsaved = [Org(site=key.site, org_id=key.org_id) for key in allowed]
        return _apply_to([*unsaved, *_rows_of(allowed)], part, change=_set_details)
    with audit.atomic():
        orgs = _lock_orgs(allowed)
        outcomes = _apply_to(orgs, part, change=partial(_change, actor=actor))
        Org.objects.bulk_update(orgs, ["group", "owner"])
    return outcomes


def _apply_to(
    orgs: Iterable[Org],
    part: Sequence[_Line],
    *,
    change: Callable[[Org, OrgDetails], bool | list[str]],
) -> list[Outcome]:
    by_key = {OrgKey(site=org.site, org_id=org.org_id): org for org in orgs}
    outcomes: list[Outcome] = []
    for line in part:
        if isinstance(line, InvalidInputError):
            outcomes.append(line)
        elif line[0] not in by_key:
            outcomes.append(permissions.denied(WHO_CAN))
        elif problem := _find_owner_problem(by_key[line[0]], line[1]):
            outcomes.append(problem)
        else:
            outcomes.append(change(by_key[line[0]], line[1]) or False)
    return outcomes


def find_by_id_or_name(orgs: Collection[KnownOrg], *, site: str, text: str) -> KnownOrg:
    """The org among these with this ID, or with a name that no other org of the site has.

    Raises InvalidInputError for `site` and `org`.
    """
    found_site = find_site(site)
    on_site = found_site.site if found_site else site
    of_site = [org for org in orgs if org.site == on_site]
    matches = [org for org in of_site if org.org_id == text] or [
        org for org in of_site if org.name == text
    ]
    if len(matches) > 1:
        raise InvalidInputError({"org": f"{len(matches)} orgs are named “{text}”. Use an ID."})
    if not matches:
        raise InvalidInputError({"org": f"No org of {on_site} has the ID or name “{text}”."})
    return matches[0]


def find_owner(username: str) -> Person | None:
    """The person with this username; None for "". Raises InvalidInputError for `owner`."""
    if not username:
        return None
    person = Person.objects.filter(username=username).first()
    if person is None:
        raise InvalidInputError({"owner": f"No person has the username “{username}”."})
    return person
