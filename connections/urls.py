"""Every URL, with its view and who can open it: see `urlpatterns` of each package of web/."""

from connections.access.permissions import SEE_EVERYTHING
from connections.web.access_requests.urls import urlpatterns as access_requests
from connections.web.access_reviews.urls import urlpatterns as access_reviews
from connections.web.agreements.urls import urlpatterns as agreements
from connections.web.audit.urls import urlpatterns as audit
from connections.web.batches.urls import urlpatterns as batches
from connections.web.changes.urls import urlpatterns as changes
from connections.web.credentials.urls import urlpatterns as credentials
from connections.web.deletions.urls import urlpatterns as deletions
from connections.web.framework.monitoring import metrics
from connections.web.framework.routing import page
from connections.web.inventory.urls import urlpatterns as inventory
from connections.web.notifications.urls import urlpatterns as notifications
from connections.web.overview.urls import urlpatterns as overview
from connections.web.people.urls import urlpatterns as people
from connections.web.search.urls import urlpatterns as search
from connections.web.settings.urls import urlpatterns as settings

urlpatterns = [
    *overview,
    *inventory,
    *changes,
    *agreements,
    *deletions,
    *batches,
    *access_requests,
    *access_reviews,
    *credentials,
    *people,
    *audit,
    *notifications,
    *search,
    *settings,
    page("metrics", metrics, SEE_EVERYTHING),
]
