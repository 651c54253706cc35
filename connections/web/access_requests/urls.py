"""Access requests: addresses."""

from connections.access.permissions import (
    APPROVE_ACCESS,
    CONFIRM_ACCESS,
    EXPORT,
    REQUEST_ACCESS,
    SEE,
)
from connections.web.access_requests import actions
from connections.web.access_requests import list as requests
from connections.web.access_requests.detail import access_request_detail
from connections.web.access_requests.new import access_request_new
from connections.web.framework.routing import action, form_page, page

_ONE = "access-requests/<uuid:pk>/"

urlpatterns = [
    page("access-requests/", requests.access_request_list, SEE),
    page("access-requests/export/", requests.access_request_export, EXPORT),
    form_page("access-requests/new/", access_request_new, REQUEST_ACCESS),
    page(_ONE, access_request_detail, SEE),
    action(f"{_ONE}approve/", actions.access_request_approve, APPROVE_ACCESS),
    action(f"{_ONE}decline/", actions.access_request_decline, APPROVE_ACCESS),
    # A Viewer withdraws their own.
    action(f"{_ONE}withdraw/", actions.access_request_withdraw, REQUEST_ACCESS),
    action(f"{_ONE}execute/", actions.access_request_execute, CONFIRM_ACCESS),
    action(f"{_ONE}reconcile/", actions.access_request_reconcile, CONFIRM_ACCESS),
    action(f"{_ONE}close/", actions.access_request_close, CONFIRM_ACCESS),
]
