"""Search everywhere: addresses."""

from connections.access.permissions import SEE
from connections.web.framework.routing import page
from connections.web.search.page import search

urlpatterns = [page("search/", search, SEE)]
