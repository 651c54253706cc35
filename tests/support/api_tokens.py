"""Tokens of the API."""

from connections.access.actor import command_actor
from connections.models import ApiToken, Person
from connections.people.api_tokens import make_token


def make_token_of(
    person: Person, *scopes: str, name: str = "CMDB", days: int = 90
) -> tuple[ApiToken, str]:
    """A new token of the person, with every scope that reads by default, and its text."""
    return make_token(
        actor=command_actor(), person=person, name=name, scopes=scopes or ["read"], days=days
    )
