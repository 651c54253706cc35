"""The identity provider that the settings name."""

from django.conf import settings

from connections.core.private_files import PrivateFileError, read_private_text
from connections.core.secret import Secret
from connections.people.oidc.errors import ProviderError, Reason
from connections.people.oidc.exchange import Provider


def load_provider() -> Provider:
    """The provider with its client secret. Raises ProviderError when that cannot be read."""
    try:
        secret = Secret(read_private_text(settings.OIDC_SECRET_FILE).strip())
    except PrivateFileError as error:
        raise ProviderError(Reason.UNREACHABLE, str(error)) from None
    return Provider(
        issuer=settings.OIDC_ISSUER,
        client_id=settings.OIDC_CLIENT_ID,
        client_secret=secret,
        ca_bundle=settings.DATADOG_CA_BUNDLE,
    )
