"""The overview: addresses."""

from connections.access.permissions import SEE
from connections.web.framework.routing import action, page
from connections.web.overview.actions import problem_acknowledge
from connections.web.overview.parts import next_item
from connections.web.overview.views import overview

urlpatterns = [
    page("", overview, SEE),
    page("next/", next_item, SEE),
    # The service decides who can, because a Viewer who requested access can.
    action("problems/<slug:kind>/<uuid:pk>/acknowledge/", problem_acknowledge, SEE),
]
