"""The choices of the filters of connections."""

from collections.abc import Iterable

from connections.inventory.filters import DISABLED
from connections.inventory.matching import KnownOrg, sort_orgs
from connections.web.framework import lists


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
