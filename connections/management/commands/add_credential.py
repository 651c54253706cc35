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
from connections.credentials.lifecycle import count_connections
from connections.management.base import FAILED, OrgAdminCommand
from connections.management.credential_documents import credential_document, credential_text
from connections.models import KeyPair


class Command(OrgAdminCommand):
    """Stores, verifies and lists. Keys come from files or standard input, never as arguments."""

    help = (
        "Add the key pair of one Datadog org. Without the two file options the keys are read from "
        "standard input: two lines (API key, application key), or a JSON document with api_key "
        "and application_key. Exit code 0: verified; 1: kept, but not verified; 2: usage."
    )
    needs_keys = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--name", default="", help="Left out, the org's own name is taken.")
        parser.add_argument(
            "--site", required=True, help="datadoghq.eu, or its short name EU1, for example."
        )
        parser.add_argument("--api-key-file", type=Path, metavar="FILE")
        parser.add_argument("--application-key-file", type=Path, metavar="FILE")

    def run(self, **options: Any) -> None:
        credential = credential_lifecycle.add_credential(
            actor=command_actor(),
            name=options["name"],
            site=self._site(options["site"]),
            keys=self._keys(options["api_key_file"], options["application_key_file"]),
        )
        document = credential_document(credential)
        document["org_connections"] = count_connections(credential)
        self.emit(document, credential_text(credential))
        if not credential.is_verified:
            raise SystemExit(FAILED)

    def _site(self, typed: str) -> str:
        sites = {name.casefold(): one.site for one in all_sites() for name in (one.name, one.site)}
        if typed.casefold() not in sites:
            known = ", ".join(f"{one.site} ({one.name})" for one in all_sites())
            self.usage_error(f"There is no Datadog site {typed!r}. Known: {known}.")
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
        secret = _secret_in(path)
        if secret is None:
            self.usage_error(f"{path} cannot be read as text.")
        return secret

    def _from_standard_input(self) -> tuple[Secret, Secret]:
        pair = _pair_in(sys.stdin.read(10_000))
        if pair is None:
            self.usage_error(
                "Standard input must hold two lines, the API key and the application key, or one "
                "JSON document with api_key and application_key."
            )
        return pair


# These return None instead of raising, so that no traceback holds a key.
def _secret_in(path: Path) -> Secret | None:
    try:
        return Secret(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _pair_in(text: str) -> tuple[Secret, Secret] | None:
    if text.lstrip().startswith("{"):
        return _pair_in_document(text)
    lines = text.strip().splitlines()
    return (Secret(lines[0]), Secret(lines[1])) if len(lines) == 2 else None


def _pair_in_document(text: str) -> tuple[Secret, Secret] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    values = document.get("api_key"), document.get("application_key")
    if not all(isinstance(value, str) for value in values):
        return None
    return Secret(values[0]), Secret(values[1])
