"""Changes: addresses."""

from connections.access.permissions import ACKNOWLEDGE, EXPORT, SEE
from connections.web.changes import list as views
from connections.web.framework.routing import action, page

urlpatterns = [
    page("changes/", views.change_list, SEE),
    page("changes/export/", views.change_export, EXPORT),
    action("changes/acknowledge/", views.change_acknowledge_many, ACKNOWLEDGE),
    action("changes/<uuid:pk>/acknowledge/", views.change_acknowledge, ACKNOWLEDGE),
]
