"""What Datadog accepts as authentication: a key pair or an access token."""

from dataclasses import dataclass

from connections.core.secret import Secret


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """An API key and an application key."""

    api_key: Secret
    application_key: Secret

    @property
    def by_field(self) -> dict[str, Secret]:
        """Each secret by the name of its field in forms, files and the database."""
        return {"api_key": self.api_key, "application_key": self.application_key}

    @property
    def headers(self) -> dict[str, Secret]:
        """The request headers that authenticate with it."""
        return {"DD-API-KEY": self.api_key, "DD-APPLICATION-KEY": self.application_key}


@dataclass(frozen=True, kw_only=True)
class AccessToken:
    """A personal or service access token."""

    access_token: Secret

    @property
    def by_field(self) -> dict[str, Secret]:
        """The secret by the name of its field in forms, files and the database."""
        return {"access_token": self.access_token}

    @property
    def headers(self) -> dict[str, Secret]:
        """The request header that authenticates with it.

        Datadog refuses it together with a key pair's.
        """
        return {"Authorization": Secret(f"Bearer {self.access_token.reveal()}")}


type DatadogKeys = KeyPair | AccessToken
