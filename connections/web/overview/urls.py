"""The overview: addresses."""

from connections.access.permissions import SEE
from connections.web.overview.views import overview
from connections.web.routing import page

urlpatterns = [
    page("", overview, SEE),
]
