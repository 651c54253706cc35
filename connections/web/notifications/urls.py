"""Notifications: addresses."""

from connections.access.permissions import ADMINISTER
from connections.web.framework.routing import action, page
from connections.web.notifications.list import (
    notification_list,
    notification_retry,
    notification_test,
)

urlpatterns = [
    page("notices/", notification_list, ADMINISTER),
    action("notices/test/", notification_test, ADMINISTER),
    action("notices/<uuid:pk>/retry/", notification_retry, ADMINISTER),
]
