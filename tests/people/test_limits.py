"""Sign-in limits are in the database, so that they apply across processes."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.cache.backends.db import DatabaseCache
from django.test import Client

from connections.models import Person
from tests.support.people import PASSWORD
from tests.support.processes import ROOT, clean_environment

ATTEMPT_THREE_TIMES = """
import django
django.setup()
from django.test import Client
wrong = {"login": "ada", "password": "a-wrong-password"}
for _ in range(3):
    page = Client().post("/accounts/login/", wrong, headers={"host": "localhost"})
    print("Too many failed sign-ins" in page.text)
"""


def run(*arguments: str, data: Path) -> str:
    """The output of a Python program that uses Org Admin."""
    env = clean_environment(
        data_dir=data, DJANGO_SETTINGS_MODULE="tests.faults.concurrency.settings"
    )
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_attempts_counted_by_one_process_limit_another(migrated_directory: Path):
    data = migrated_directory
    run("manage.py", "add_person", "--username=ada", "--email=ada@example.com", data=data)
    assert run("-c", ATTEMPT_THREE_TIMES, data=data).split() == ["False", "False", "False"]
    assert run("-c", ATTEMPT_THREE_TIMES, data=data).split() == ["False", "False", "True"]


def test_a_limit_is_stored_in_the_database(client: Client, ada: Person):
    client.post("/accounts/login/", {"login": "ada", "password": "a-wrong-password"})
    another = DatabaseCache("orgadmin_cache", {})
    key = "allauth:rl:allauth.account:login_failed:10/60/ip:ip:127.0.0.1"
    assert len(another.get(key)) == 1


# A dotless i, which PostgreSQL treats as an i.
@pytest.mark.parametrize("login", ["linus", "LINUS", "lınus"])
def test_neither_the_host_nor_the_case_of_the_name_resets_the_limit(linus: Person, login: str):
    for number in range(5):
        guesser = Client(REMOTE_ADDR=f"192.0.2.{number}", headers={"host": f"testserver:{number}"})
        guesser.post("/accounts/login/", {"login": login, "password": "wrong"})
    refused = Client().post("/accounts/login/", {"login": "linus", "password": PASSWORD})
    assert "Too many failed sign-ins" in refused.text


@pytest.mark.parametrize("path", ["/sign-in/", "/setup/"])
def test_attempts_to_use_links_are_limited(db: None, path: str):
    statuses = [Client().post(path, {"token": "guess"}).status_code for _ in range(21)]
    assert statuses == [422] * 20 + [429]


def test_an_attacker_at_one_address_locks_no_one_else_out(ada: Person):
    for number in range(12):
        Client().post("/accounts/login/", {"login": f"name{number}", "password": "wrong"})
    refused = Client().post("/accounts/login/", {"login": "ada", "password": PASSWORD})
    assert "Too many failed sign-ins" in refused.text
    elsewhere = Client(REMOTE_ADDR="127.0.0.9")
    response = elsewhere.post("/accounts/login/", {"login": "ada", "password": PASSWORD})
    assert response["Location"] == "/"
