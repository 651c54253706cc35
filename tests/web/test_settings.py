"""The settings: what each role finds there, and what `doctor` reports."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings

from connections import __version__
from connections.models import Person
from connections.web.settings.page import start_sentence

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]


@pytest.mark.parametrize(
    ("who", "labels"),
    [
        ("victor", ["Account security"]),
        ("ada", ["Account security"]),
        ("root", ["People", "Notifications", "Hold", "System status", "Account security"]),
    ],
)
def test_settings_lists_what_a_role_can_open(
    who: str, labels: list[str], request: pytest.FixtureRequest, client_of: ClientOf
):
    person = request.getfixturevalue(who)
    html = client_of(person).get("/settings/").text.partition("<main")[2]
    assert [label for label in labels if f">{label}</a>" in html] == labels
    assert html.count("<dt>") == len(labels)


def test_system_status_shows_what_doctor_reports_problems_first(
    client_of: ClientOf, root: Person, settings: Settings
):
    settings.DEBUG = True
    text = client_of(root).get("/settings/status/").text
    assert "DEBUG is on: error pages show internals" in text
    assert "Unset DEBUG." in text
    assert f"Org Admin {__version__}" in text
    assert text.index("DEBUG is on: error pages") < text.index("Off (EMAIL_URL not set)")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("https://sso.example.com responds", "https://sso.example.com responds"),
        ("no credential yet", "No credential yet"),
    ],
)
def test_a_sentence_starts_with_a_capital_letter_but_an_address_does_not(text: str, sentence: str):
    assert start_sentence(text) == sentence
