"""Sends requests to a service as deployed, with a public name and HTTPS; prints its responses.

tests/web/hardening/test_headers.py runs it in a separate process, because settings are read only
once.
"""

import json
import sys

import django

django.setup()

from django.core.management import call_command  # noqa: E402 - needs the set-up
from django.test import Client  # noqa: E402

from connections.models import Person  # noqa: E402

HOST = "orgadmin.example.com"
PATHS = {
    "login": "/accounts/login/",
    "page": "/accounts/2fa/",
    "guarded": "/deletions/",
    "missing": "/nowhere/",
    "static": "/static/connections/app.css",
    "health": "/healthz",
}


def main() -> None:
    """Print {name: {status, headers, cookies}} as JSON."""
    call_command("migrate", interactive=False, verbosity=0)
    person = Person.objects.create_superuser(username="root", email="root@example.com")
    client = Client(headers={"Host": HOST})
    responses = {"plain HTTP": client.get("/deletions/")}
    for name, path in PATHS.items():
        if name == "page":
            client.force_login(person)
        responses[name] = client.get(path, secure=True)
    # The cookies that signing in sets.
    signed_out = Client(headers={"Host": HOST})
    responses["signing in"] = signed_out.post("/accounts/login/", {"login": "x"}, secure=True)
    json.dump(
        {
            name: {
                "status": response.status_code,
                "headers": dict(response.headers),
                "cookies": {
                    key: {**morsel}
                    for key, morsel in {**client.cookies, **response.cookies}.items()
                },
            }
            for name, response in responses.items()
        },
        sys.stdout,
    )


main()
