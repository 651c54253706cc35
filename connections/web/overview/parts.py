"""What needs the person, one list at a time (its part "Needs you") or one thing after the other."""

from dataclasses import replace
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from connections.inventory.orgs import list_known_orgs
from connections.web.framework.lists import PAGE_SIZE, shared_names
from connections.web.overview.kinds import find_items
from connections.web.overview.navigation import items_of, situation_of


def render_part(request: HttpRequest, *, entry: str, title: str) -> HttpResponse:
    """The page that lists what waits for this person in an entry of the navigation."""
    situation = replace(situation_of(request), limit=PAGE_SIZE)
    items = find_items(situation, entry=entry)
    return render(
        request,
        "overview/part.html",
        {
            "title": title,
            "entry": entry,
            "items": [item for item in items if item.is_yours],
            "shared": shared_names(list_known_orgs(actor=situation.actor)),
        },
    )


def is_part(request: HttpRequest) -> bool:
    """Whether the address names that part."""
    return request.GET.get("needs") == "you"


def next_item(request: HttpRequest) -> HttpResponse:
    """Redirect to what needs this person after the page that they come from, most urgent first.

    After the last one, to the overview.
    """
    urls = list(dict.fromkeys(item.url for item in items_of(request) if item.is_yours))
    page = urlsplit(request.headers.get("Referer", ""))
    here = page._replace(scheme="", netloc="").geturl()
    place = urls.index(here) + 1 if here in urls else 0
    return redirect([*urls, reverse("overview")][place])
