"""The nginx sample in docs/DEPLOYMENT.md, with nginx's variables filled in as nginx does."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from connections.models import Person

DEPLOYMENT = Path(__file__).parents[3] / "docs/DEPLOYMENT.md"
HOST = "orgs.example.org"


def forwarded_headers(*, port: str) -> Mapping[str, str]:
    """The headers that the sample sets for a request to this port."""
    variables = {
        "$host": HOST,
        "$http_host": f"{HOST}{port}",
        "$scheme": "https",
        "$remote_addr": "192.0.2.1",
        "$request_id": "0123456789abcdef0123456789abcdef",
    }
    set_headers = re.findall(r"proxy_set_header (\S+) (\S+);", DEPLOYMENT.read_text())
    return {name: variables[value] for name, value in set_headers}


@pytest.mark.parametrize("port", ["", ":8443"])
def test_a_form_behind_the_documented_proxy_is_accepted_on_any_port(
    ada: Person, settings: Settings, port: str
):
    settings.ALLOWED_HOSTS = [HOST]
    headers = {**forwarded_headers(port=port), "Origin": f"https://{HOST}{port}"}
    client = Client(enforce_csrf_checks=True, headers=headers)
    path = "/accounts/login/"
    page = client.get(path, secure=True).content.decode()
    [token] = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page))
    form = {"csrfmiddlewaretoken": token, "login": ada.username, "password": "wrong"}
    response = client.post(path, form, secure=True)
    assert response.status_code == 200
    assert "Couldn" in response.content.decode()
