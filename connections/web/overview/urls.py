"""The overview: addresses."""

from connections.access.permissions import SEE
from connections.web.framework.routing import page
from connections.web.overview.views import overview

urlpatterns = [
    page("", overview, SEE),
]
