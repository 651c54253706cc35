"""Store the keys of one Datadog org from the command line."""

import getpass
import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.views.decorators.debug import sensitive_variables

from connections.access.actor import command_actor
from connections.core.datadog_keys import AccessToken, DatadogKeys, KeyPair
from connections.core.secret import Secret
from connections.core.sites import all_sites, find_site
from connections.credentials import lifecycle as credential_lifecycle
from connections.management import base
from connections.management.base import OrgAdminCommand, Result

_FIELDS = ("api_key", "application_key", "access_token")


class Command(OrgAdminCommand):
    """Checks and stores keys and lists connections. Never takes keys as arguments."""

    help = (
        "Add the keys of one Datadog org. Without a file option, they are read from standard "
        "input: two lines (API key, application key), one line (access token), or a JSON document "
        "with api_key and application_key, or with access_token. Exit codes: 0 accepted, 1 "
        "rejected by Datadog (nothing is saved) or saved but not checked, 2 usage."
    )
    needs_keys = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", default="", help="Default: the org's name.")
        parser.add_argument(
            "--site", required=True, help="A Datadog site, such as datadoghq.eu or EU1."
        )
        parser.add_argument("--api-key-file", type=Path, metavar="FILE")
        parser.add_argument("--application-key-file", type=Path, metavar="FILE")
        parser.add_argument(
            "--access-token-file", type=Path, metavar="FILE", help="In place of the two keys."
        )

    def run(self, **options: Any) -> Result:
        credential = credential_lifecycle.add_credential(
            actor=command_actor(),
            name=options["name"],
            site=self._site(options["site"]),
            keys=self._keys(options),
        )
        document = base.credential_document(credential)
        document["org_connections"] = credential_lifecycle.count_connections(credential)
        exit_code = 0 if credential.is_verified else base.FAILED
        return Result(document, *base.credential_lines(credential), exit_code=exit_code)

    def _site(self, typed: str) -> str:
        site = find_site(typed)
        if site is None:
            sites = ", ".join(f"{site.name} ({site.site})" for site in all_sites())
            self.usage_error(f"Unknown Datadog site {typed!r}. Known sites: {sites}.")
        return site.site

    @sensitive_variables()
    def _keys(self, options: dict[str, Any]) -> DatadogKeys:
        paths = {name: path for name in _FIELDS if (path := options[f"{name}_file"])}
        if not paths:
            return self._from_standard_input()
        keys = _choose_kind({name: self._read(path) for name, path in paths.items()})
        if keys is None:
            self.usage_error(
                "Give either --access-token-file, or --api-key-file and --application-key-file."
            )
        return keys

    def _read(self, path: Path) -> Secret:
        secret = _read_secret(path)
        if secret is None:
            self.usage_error(f"{path} isn't a readable UTF-8 file.")
        return secret

    def _from_standard_input(self) -> DatadogKeys:
        if sys.stdin.isatty():
            return KeyPair(
                api_key=Secret(getpass.getpass("API key: ")),
                application_key=Secret(getpass.getpass("Application key: ")),
            )
        keys = _parse_keys(sys.stdin.read(10_000))
        if keys is None:
            self.usage_error(
                "Standard input must contain two lines (the API key and the application key), one "
                "line (the access token), or one JSON document with api_key and application_key, "
                "or with access_token."
            )
        return keys


# These return None instead of raising, so that no traceback contains a key.
def _read_secret(path: Path) -> Secret | None:
    try:
        return Secret(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _parse_keys(text: str) -> DatadogKeys | None:
    if text.lstrip().startswith("{"):
        return _parse_document(text)
    lines = [Secret(line) for line in text.strip().splitlines()]
    if len(lines) == 1:
        return AccessToken(access_token=lines[0])
    return KeyPair(api_key=lines[0], application_key=lines[1]) if len(lines) == 2 else None


def _parse_document(text: str) -> DatadogKeys | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    secrets = {name: document[name] for name in _FIELDS if name in document}
    if not all(isinstance(secret, str) for secret in secrets.values()):
        return None
    return _choose_kind({name: Secret(secret) for name, secret in secrets.items()})


def _choose_kind(secrets: dict[str, Secret]) -> DatadogKeys | None:
    """The keys that these fields make; None for too few, or for both kinds."""
    if secrets.keys() == {"access_token"}:
        return AccessToken(**secrets)
    if secrets.keys() == {"api_key", "application_key"}:
        return KeyPair(**secrets)
    return None
