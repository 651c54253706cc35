"""Store the key pair of one Datadog org from the command line."""

import getpass
import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.views.decorators.debug import sensitive_variables

from connections.access.actor import command_actor
from connections.core.secret import Secret
from connections.core.sites import all_sites
from connections.credentials import lifecycle as credential_lifecycle
from connections.management.base import FAILED, OrgAdminCommand
from connections.management.credential_documents import credential_document, credential_text
from connections.models import KeyPair


class Command(OrgAdminCommand):
    """Stores, verifies and lists. Keys come from files or standard input, never as arguments."""

    help = (
        "Add the key pair of one Datadog org. Without the two file options, standard input holds "
        "the keys: two lines (API key, application key), or a JSON document with api_key and "
        "application_key. Exit codes: 0 verified, 1 saved but not verified, 2 usage."
    )
    needs_keys = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", default="", help="Default: the org's name.")
        parser.add_argument(
            "--site", required=True, help="A Datadog site, such as datadoghq.eu or EU1."
        )
        parser.add_argument("--api-key-file", type=Path, metavar="FILE")
        parser.add_argument("--application-key-file", type=Path, metavar="FILE")

    def run(self, **options: Any) -> int:
        credential = credential_lifecycle.add_credential(
            actor=command_actor(),
            name=options["name"],
            site=self._site(options["site"]),
            keys=self._keys(options["api_key_file"], options["application_key_file"]),
        )
        document = credential_document(credential)
        document["org_connections"] = credential_lifecycle.count_connections(credential)
        self.emit(document, credential_text(credential))
        return 0 if credential.is_verified else FAILED

    def _site(self, typed: str) -> str:
        sites = {name.casefold(): one.site for one in all_sites() for name in (one.name, one.site)}
        if typed.casefold() not in sites:
            known = ", ".join(f"{one.name} ({one.site})" for one in all_sites())
            self.usage_error(f"Unknown Datadog site {typed!r}. Known sites: {known}.")
        return sites[typed.casefold()]

    @sensitive_variables()
    def _keys(self, api_key_file: Path | None, application_key_file: Path | None) -> KeyPair:
        if api_key_file and application_key_file:
            api_key, application_key = map(self._read, (api_key_file, application_key_file))
        elif api_key_file or application_key_file:
            self.usage_error("Give both --api-key-file and --application-key-file, or neither.")
        elif sys.stdin.isatty():
            api_key = Secret(getpass.getpass("API key: "))
            application_key = Secret(getpass.getpass("Application key: "))
        else:
            api_key, application_key = self._from_standard_input()
        return KeyPair(api_key=api_key, application_key=application_key)

    def _read(self, path: Path) -> Secret:
        secret = _read_secret(path)
        if secret is None:
            self.usage_error(f"{path} isn't a readable UTF-8 file.")
        return secret

    def _from_standard_input(self) -> tuple[Secret, Secret]:
        pair = _parse_pair(sys.stdin.read(10_000))
        if pair is None:
            self.usage_error(
                "Standard input must hold two lines, the API key and the application key, or one "
                "JSON document with api_key and application_key."
            )
        return pair


# These return None instead of raising, so that no traceback holds a key.
def _read_secret(path: Path) -> Secret | None:
    try:
        return Secret(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _parse_pair(text: str) -> tuple[Secret, Secret] | None:
    if text.lstrip().startswith("{"):
        return _parse_document(text)
    lines = text.strip().splitlines()
    return (Secret(lines[0]), Secret(lines[1])) if len(lines) == 2 else None


def _parse_document(text: str) -> tuple[Secret, Secret] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    values = document.get("api_key"), document.get("application_key")
    if not all(isinstance(value, str) for value in values):
        return None
    return Secret(values[0]), Secret(values[1])
