"""The demo's start page. Its URLs exist only in the server that `./run demo` starts."""

from allauth.account.adapter import get_adapter
from allauth.account.utils import perform_login
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern

from connections.core.errors import ConflictError
from connections.models import Credential, Person
from connections.web.framework.addresses import is_local_url
from connections.web.framework.http import signed_in_person
from connections.web.framework.routing import Visitors, action, page
from connections.web.people.allauth_internals import record_authentication
from orgadmin.demo import scenes, simulator
from orgadmin.demo.world import USERNAMES
from sandbox.demo_world import connection_id_between


def start(request: HttpRequest) -> HttpResponse:
    """List the people and the scenes."""
    people = {person.username: person for person in Person.objects.filter(username__in=USERNAMES)}
    return render(
        request,
        "demo/start.html",
        {
            "people": [people[username] for username in USERNAMES],
            "first": scenes.delete_one(),
            "scenes": scenes.list_scenes(),
            "more_scenes": scenes.list_more_scenes(),
            "failures": list(scenes.list_failures()),
            "password": settings.DEMO_PASSWORD,
        },
    )


def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in as one of the demo's people with their password, and open the given page."""
    person = get_object_or_404(
        Person.objects.filter(username__in=USERNAMES), username=request.POST.get("username", "")
    )
    to = request.POST.get("next", "")
    path = to if is_local_url(request, to) else "/"
    adapter = get_adapter(request)
    if signed_in_person(request) is not None:
        adapter.logout(request)
    user = adapter.authenticate(request, username=person.username, password=settings.DEMO_PASSWORD)
    record_authentication(request, user, "password", username=person.username)
    response: HttpResponse = perform_login(request, user, redirect_url=path)
    return response


def change_connection(request: HttpRequest) -> HttpResponse:
    """Change a connection at the simulated Datadog, as another of its users would."""
    change = scenes.CHANGES.get(request.POST.get("change", ""))
    if change is None:
        raise Http404("There is no such change.")
    source, sink = change.pair
    try:
        simulator.change_connection(
            change.values,
            connection_id=connection_id_between(source=source, sink=sink),
            site=Credential.objects.filter(name__in=change.pair).earliest("created_at").site,
        )
    except ConflictError:
        messages.info(request, "This has happened already, or the connection is gone.")
    else:
        messages.success(request, change.message)
    return redirect("demo-start")


def demo_urls() -> list[URLPattern]:
    """The URLs of the start page, for anyone who can reach the demo."""
    anyone = Visitors.ANYONE
    return [
        page("demo/", start, anyone, name="demo-start"),
        action("demo/sign-in/", sign_in, anyone, name="demo-sign-in"),
        action("demo/change/", change_connection, anyone, name="demo-change"),
    ]
