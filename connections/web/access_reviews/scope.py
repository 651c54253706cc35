"""The filter that an access review is about, as text and as a link."""

from urllib.parse import parse_qsl

from django.urls import reverse

from connections.models import Org
from connections.web.inventory.forms import PROTECTED
from connections.wording.connections import site_name

_LABELS = {
    "site": "Site",
    "org": "Org",
    "type": "Data type",
    "protected": "Protection",
    "source": "Source",
    "destination": "Destination",
    "q": "Search",
}


def scope_text(scope: str) -> str:
    """ "Data type: audit · Site: US1"; "All connections" without a filter."""
    values = parse_qsl(scope)
    if not values:
        return "All connections"
    return " · ".join(f"{_LABELS[name]}: {_value_text(name, value)}" for name, value in values)


def _value_text(name: str, value: str) -> str:
    match name:
        case "site":
            return site_name(value)
        case "protected":
            return dict(PROTECTED)[value]
        case "org":
            site, _, org_id = value.partition("/")
            org = Org.objects.filter(site=site, org_id=org_id).first()
            return org.name if org and org.name else org_id
    return value


def scope_url(scope: str) -> str:
    """The inventory with this filter."""
    url = reverse("org-connection-list")
    return f"{url}?{scope}" if scope else url
