"""The identity provider that the settings name."""

from django.conf import settings

from connections.oidc.errors import ProviderError, Reason
from connections.oidc.exchange import Provider
from connections.secret import Secret
from orgadmin.private_files import PrivateFileError, read_private_text


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
