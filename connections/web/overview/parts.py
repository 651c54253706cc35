"""The part "Needs you" of a list: the lines that its number in the navigation counts."""

from dataclasses import replace

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from connections.inventory.orgs import list_known_orgs
from connections.web.framework.lists import PAGE_SIZE, shared_names
from connections.web.overview.kinds import find_items
from connections.web.overview.navigation import situation_of


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
