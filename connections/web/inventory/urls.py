"""Connections and orgs: addresses."""

from django.urls import register_converter
from django.urls.converters import StringConverter

from connections.access.permissions import EXPORT, PROTECT, SEE, SET_DETAILS, SYNC, UNPROTECT
from connections.inventory.org_details import MAX_ORGS
from connections.web.framework.routing import action, form_page, page
from connections.web.inventory import actions, detail, orgs
from connections.web.inventory import list as inventory
from connections.web.inventory.org_details import org_details, org_import
from connections.web.inventory.org_list import org_list


class SiteConverter(StringConverter):
    """The name of a site.

    PostgreSQL refuses a query for text with other characters, such as NUL.
    """

    regex = "[A-Za-z0-9._-]+"


register_converter(SiteConverter, "site")

urlpatterns = [
    page("connections/", inventory.org_connection_list, SEE),
    action("connections/refresh/", actions.org_connection_refresh, SYNC),
    page("connections/export/", inventory.org_connection_export, EXPORT),
    form_page("connections/protect/", actions.org_connection_protect, PROTECT),
    page("connections/<site:site>/<uuid:connection_id>/", detail.org_connection_detail, SEE),
    form_page(
        "connections/<site:site>/<uuid:connection_id>/lift/",
        actions.org_connection_unprotect,
        UNPROTECT,
    ),
    page("orgs/", org_list, SEE),
    form_page("orgs/details/", org_details, SET_DETAILS, max_fields=2 * MAX_ORGS),
    form_page("orgs/import/", org_import, SET_DETAILS, accepts_file=True),
    page("orgs/<site:site>/<uuid:org_id>/", orgs.org_detail, SEE),
]
