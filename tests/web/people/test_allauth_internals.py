"""django-allauth's internals: used in one file, and still compatible."""

import inspect
import re
from pathlib import Path

import pytest

from connections.web.people import allauth_internals

ROOT = Path(__file__).resolve().parents[3]
# Each function with the arguments that we pass.
CALLED_WITH: dict[str, tuple[list[str], list[str]]] = {
    "clear_state": ([], []),
    "complete_authentication": (["user", "response"], []),
    "consume_rate_limit": (["request"], ["app", "action", "config", "limit_get"]),
    "generate_totp_secret": ([], []),
    "get_credentials": (["user"], []),
    "get_server": ([], []),
    "parse_authentication_response": (["response"], []),
    "record_authentication": (["request", "user", "method"], ["chose_password"]),
    "set_state": (["state"], []),
}


@pytest.mark.parametrize("name", sorted(CALLED_WITH))
def test_each_allauth_function_accepts_our_arguments(name: str):
    positional, by_name = CALLED_WITH[name]
    function = getattr(allauth_internals, name)
    inspect.signature(function).bind(*positional, **dict.fromkeys(by_name))


def test_the_secret_of_a_new_authenticator_app_is_stored_where_allauth_reads_it():
    assert allauth_internals.SECRET_SESSION_KEY == "mfa.totp.secret"


def test_every_imported_name_is_tested_here():
    assert set(allauth_internals.__all__) == {*CALLED_WITH, "SECRET_SESSION_KEY"}


def test_only_one_file_imports_internals_of_allauth():
    pattern = re.compile(r"^\s*(from|import) allauth\.[\w.]*\binternal\b", re.MULTILINE)
    importing = [
        str(path.relative_to(ROOT))
        for directory in ("connections", "orgadmin", "sandbox", "tests")
        for path in (ROOT / directory).rglob("*.py")
        if pattern.search(path.read_text())
    ]
    assert importing == ["connections/web/people/allauth_internals.py"]


def test_allauth_is_pinned_to_one_minor_version():
    [bound] = re.findall(r"^django-allauth\[mfa\]~=(\S+)", read("requirements.in"), re.MULTILINE)
    [locked] = re.findall(r"^django-allauth==(\S+)", read("requirements.txt"), re.MULTILINE)
    assert bound.split(".")[:2] == locked.split(".")[:2]
    # `~= 65.21` would admit 65.22.
    assert len(bound.split(".")) == 3


def read(name: str) -> str:
    return (ROOT / name).read_text()
