"""Groups and owners of orgs."""

from collections.abc import Collection, Sequence
from typing import TypedDict

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.audit import EventCode, Sentence, personal_data
from connections.core import clock
from connections.core.csv_import import ImportResult, import_csv, one_by_one
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
        owner = details.get("owner")
        if owner and not owner.is_active and any(org.owner_id != owner.pk for org in stored):
            raise InvalidInputError(
                {"owner": f"The account of {owner} is disabled. Choose someone else."}
            )
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


def _lock_orgs(keys: Sequence[OrgKey]) -> list[Org]:
    """The rows of these orgs, in a fixed order. An org that was never synced gets one."""
    now = clock.now()
    Org.objects.bulk_create(
        (
            Org(site=key.site, org_id=key.org_id, first_seen_at=now, established_at=now)
            for key in keys
        ),
        ignore_conflicts=True,
    )
    of_keys = Org.objects.filter(
        site__in={key.site for key in keys}, org_id__in={key.org_id for key in keys}
    )
    rows = of_keys.select_for_update(no_key=True, of=("self",)).select_related("owner")
    wanted = {(key.site, key.org_id) for key in keys}
    return [org for org in rows.order_by("pk") if (org.site, org.org_id) in wanted]


def _change(org: Org, details: OrgDetails, *, actor: Actor) -> bool:
    """Change the org and record it. Returns whether anything is different."""
    group, owner = org.group, org.owner
    org.group, org.owner = details.get("group", group), details.get("owner", owner)
    if (org.group, org.owner) == (group, owner):
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


def import_org_groups(*, actor: Actor, content: bytes) -> ImportResult:
    """Set the group and owner that each line has; an empty cell clears.

    Columns: `site`, `org` (an ID, or a name that only one org of the site has), `group` and `owner`
    (a username). Raises InvalidInputError for `file`.
    """
    orgs = list_known_orgs(actor=actor)

    def apply(row: dict[str, str]) -> bool:
        org = find_by_id_or_name(orgs, site=row["site"], text=row["org"])
        details: OrgDetails = {"group": row["group"], "owner": find_owner(row["owner"])}
        key = OrgKey(site=org.site, org_id=org.org_id)
        return bool(set_org_details(actor=actor, orgs=[key], details=details))

    return import_csv(
        content, columns=COLUMNS, apply_all=one_by_one(apply), named_by=("site", "org")
    )


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
