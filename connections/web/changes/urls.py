"""Changes: addresses."""

from connections.access.permissions import ACKNOWLEDGE, EXPORT, SEE
from connections.web.changes.actions import change_acknowledge
from connections.web.changes.list import change_export, change_list
from connections.web.framework.routing import action, page

urlpatterns = [
    page("changes/", change_list, SEE),
    page("changes/export/", change_export, EXPORT),
    action("changes/acknowledge/", change_acknowledge, ACKNOWLEDGE, name="change-acknowledge-many"),
    action("changes/<uuid:pk>/acknowledge/", change_acknowledge, ACKNOWLEDGE),
]
