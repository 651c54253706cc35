"""The page that chooses the two orgs of an access request by their names."""

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from connections.access.actor import Actor
from connections.core.sites import site_name
from connections.inventory.orgs import list_known_orgs
from connections.web.framework import lists


def choice_page(request: HttpRequest, *, actor: Actor, problem: str = "") -> HttpResponse:
    """The page, or a redirect to the form of the two orgs that were named.

    `problem` is why the two orgs of the address can't be connected.
    """
    query, known = request.GET, list_known_orgs(actor=actor)
    labels = dict(lists.org_options(known))
    names: dict[str, list[str]] = {}
    for org in known:
        names.setdefault(org.name.casefold(), []).append(org.key)
    texts = {
        side: query.get(f"{side}_name", "").strip() or labels.get(query.get(side, ""), "")
        for side in ("source", "destination")
    }
    keys = {side: _find(text, labels, names) for side, text in texts.items()}
    # The page asks for the other org while one is chosen.
    is_chosen = "destination_name" in query and "choosing" not in query
    if is_chosen and all(keys.values()) and not problem:
        return HttpResponseRedirect(reverse("access-request-new", query=keys))
    site = keys["source"].partition("/")[0]
    problems = {side: _problem_of(texts[side], keys[side]) for side in texts} if is_chosen else {}
    problems["destination"] = problems.get("destination") or problem
    context = {
        "texts": texts,
        "problems": problems,
        "labels": list(labels.values()),
        "destinations": [
            label
            for key, label in labels.items()
            if key != keys["source"] and key.startswith(f"{site}/" if site else "")
        ],
        "site": site_name(site) if site else "",
    }
    status = 422 if any(problems.values()) else 200
    return render(request, "access_requests/choose.html", context, status=status)


def _find(text: str, labels: Mapping[str, str], names: Mapping[str, list[str]]) -> str:
    """The key of the org with this label, or with a name that only one has. "" without one."""
    folded = text.casefold()
    of_label = [key for key, label in labels.items() if label.casefold() == folded]
    matches = of_label or names.get(folded, [])
    return matches[0] if len(matches) == 1 else ""


def _problem_of(text: str, key: str) -> str:
    if key:
        return ""
    return f"Choose “{text}” from the list." if text else "Choose an org."
