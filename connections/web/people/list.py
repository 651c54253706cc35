"""The list of people."""

from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from connections.models import Person
from connections.people.people import list_authenticators


def person_list(request: HttpRequest) -> HttpResponse:
    """Everyone with an account."""
    everyone = (
        Person.objects.prefetch_related("groups")
        .annotate(has_mfa=Exists(list_authenticators(OuterRef("pk"))))
        .order_by("-is_active", "username")
    )
    return render(request, "people/list.html", {"people": everyone})
