"""Settings: addresses."""

from connections.access.permissions import ADMINISTER, SEE
from connections.web.framework.routing import action, form_page, page
from connections.web.settings.hold import hold, hold_release
from connections.web.settings.page import settings, settings_status

urlpatterns = [
    page("settings/", settings, SEE),
    page("settings/status/", settings_status, ADMINISTER),
    form_page("hold/", hold, ADMINISTER),
    action("hold/release/", hold_release, ADMINISTER),
]
