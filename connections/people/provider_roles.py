"""Which roles the identity provider's groups give."""

from django.conf import settings

from connections.models import Person


def list_provider_roles(person: Person) -> frozenset[str]:
    """The names of the roles that only the identity provider gives to this person.

    Those that the role map names, for a person with an account there.
    """
    account = person.provider_accounts.filter(issuer=settings.OIDC_ISSUER)
    return list_mapped_roles() if list_mapped_roles() and account.exists() else frozenset()


def list_mapped_roles() -> frozenset[str]:
    """The names of the roles that the role map names."""
    return frozenset[str]().union(*settings.OIDC_ROLE_MAP.values())
