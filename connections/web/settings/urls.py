"""Settings: addresses."""

from connections.access.permissions import ADMINISTER, SEE
from connections.web.framework.routing import page
from connections.web.settings.page import settings, settings_status

urlpatterns = [
    page("settings/", settings, SEE),
    page("settings/status/", settings_status, ADMINISTER),
]
