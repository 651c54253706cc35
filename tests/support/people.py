"""The cast: people with one role each, and a stranger who has none."""

from django.contrib.auth.models import Group

from connections.models import Person, Role

PASSWORD = "a long enough pass phrase"


def make_person(username: str, *roles: Role, is_administrator: bool = False) -> Person:
    """Store a person who can sign in with PASSWORD, without any record of an act."""
    person = Person(
        username=username,
        first_name=username.capitalize(),
        email=f"{username}@example.com",
        is_superuser=is_administrator,
    )
    person.set_password(PASSWORD)
    person.save()
    # A test that empties the tables takes the groups with it, though a migration made them.
    person.groups.set([Group.objects.get_or_create(name=role.value)[0] for role in roles])
    return person
