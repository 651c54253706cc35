"""Whether people could sign in at the identity provider now."""

from collections.abc import Iterator

from django.conf import settings

from connections.operations.findings import Finding, error, ok
from connections.people import provider_settings
from connections.people.oidc import client
from connections.people.oidc.errors import ProviderError
from connections.people.oidc.exchange import open_exchange


def check_issuer() -> Iterator[Finding]:
    """One finding when an issuer is configured: fetches its metadata and signs nobody in."""
    issuer = settings.OIDC_ISSUER
    if not issuer:
        return
    try:
        with open_exchange(provider_settings.load_provider()) as exchange:
            client.fetch_metadata(exchange)
    except ProviderError as failure:
        yield error(
            "identity provider",
            f"Nobody can sign in with SSO: {failure}",
            "Check ORGADMIN_OIDC_ISSUER, ORGADMIN_OIDC_CLIENT_SECRET_FILE and ORGADMIN_CA_BUNDLE.",
        )
    else:
        yield ok("identity provider", f"{issuer} responds and its metadata is usable.")
