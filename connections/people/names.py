"""Which names people can have, so that nobody is taken for another person or for Org Admin."""

from collections import Counter

from django.db.models import Q, QuerySet

from connections.access.actor import PROVIDER_NAME, WORKER
from connections.core.lookalikes import find_mixed_scripts, fold_lookalikes
from connections.core.text import join_names
from connections.core.typed_text import has_visible_text
from connections.models import Person

NAME_TAKEN = "Another person already uses this to sign in."
LOOKS_TAKEN = "Another person's name looks the same. Choose a different one."
# What pages and the audit log call Org Admin itself, as `fold_lookalikes` returns them.
_RESERVED = {"org admin", WORKER.name, PROVIDER_NAME}
# Each with a number or an account's name after it.
_RESERVED_STARTS = ("command", "erased person")


def find_name_problem(name: str) -> str | None:
    """Why nobody can have this username or display name, as a sentence, or None."""
    if not has_visible_text(name):
        return "Enter a name that can be read."
    if is_reserved(name):
        return "Org Admin itself is called this. Choose a different one."
    if scripts := find_mixed_scripts(name):
        return f"Use letters of one script. This mixes {join_names(scripts)}."
    return None


def is_reserved(name: str) -> bool:
    """Whether this is, or looks like, what Org Admin calls itself and its parts."""
    folded = fold_lookalikes(name)
    return folded in _RESERVED or any(
        folded.startswith(start) and not folded.removeprefix(start)[:1].isalpha()
        for start in _RESERVED_STARTS
    )


def find_new_name_problem(name: str) -> str | None:
    """Why nobody new can have this username or display name, as a sentence, or None."""
    if problem := find_name_problem(name):
        return problem
    folded = fold_lookalikes(name)
    people = _with_names(Person.objects.all())
    return LOOKS_TAKEN if any(folded in _folded_names(each) for each in people) else None


def is_taken(name: str, *, excluding: Person) -> bool:
    """Whether another person signs in with this username or address."""
    others = Person.objects.exclude(pk=excluding.pk)
    return others.filter(Q(username__iexact=name) | Q(email__iexact=name)).exists()


def list_misleading_names() -> list[str]:
    """The usernames of active people who have a name that nobody could get now, in order."""
    people = list(_with_names(Person.objects.filter(is_active=True).order_by("username")))
    shared = Counter(folded for person in people for folded in _folded_names(person))
    return [
        person.username
        for person in people
        if any(shared[folded] > 1 for folded in _folded_names(person))
        or any(find_name_problem(name) for name in (person.username, person.display_name))
    ]


def _with_names(people: QuerySet[Person]) -> QuerySet[Person]:
    return people.only("username", "first_name", "last_name")


def _folded_names(person: Person) -> set[str]:
    return {fold_lookalikes(person.username), fold_lookalikes(person.display_name)}
