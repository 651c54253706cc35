"""The choices of the filters of connections."""

from collections.abc import Iterable

from django import forms

from connections.access.actor import Actor
from connections.inventory.choices import AgreementChoices
from connections.inventory.filters import DISABLED
from connections.inventory.matching import KnownOrg, sort_orgs
from connections.web.framework import lists

# Days before the end of an agreement.
_ENDS_WITHIN = (7, 30, 90)


def connection_choices(
    orgs: Iterable[KnownOrg], types: Iterable[str], creators: Iterable[str]
) -> dict[str, lists.Options]:
    """The choices of the filters that take their values from connections."""
    by_name = sort_orgs(orgs)
    return {
        "site": lists.site_options(sorted({org.site for org in by_name})),
        "org": lists.org_options(by_name),
        "type": [(name, name) for name in sorted(types)],
        "creator": [DISABLED, *((name, name) for name in sorted(creators, key=str.casefold))],
    }


def agreement_choices(choices: AgreementChoices, *, actor: Actor) -> dict[str, lists.Options]:
    """The choices of the filters about agreements and groups. The person's own come first."""
    mine = [owner for owner in choices.owners if actor.person and owner[0] == actor.person.username]
    others = [owner for owner in choices.owners if owner not in mine]
    return {
        "owner": [*((username, "Mine") for username, _ in mine), *others],
        "group": [(group, group) for group in choices.groups],
        "ends_within": [(str(days), f"Within {days} days") for days in _ENDS_WITHIN],
    }


def unused_filters(choices: AgreementChoices, form: forms.Form) -> list[str]:
    """The filters without a value that could only match nothing, or everything."""
    is_used = {
        "agreed": choices.has_agreements,
        "ends_within": choices.has_agreements,
        "owner": choices.owners,
        "group": choices.groups,
    }
    return [name for name in is_used if not is_used[name] and not form.data.get(name)]
