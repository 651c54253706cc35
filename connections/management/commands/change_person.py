"""Change a person's roles or break-glass permission, or disable or enable them."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand, Result
from connections.models import Person, Role
from connections.people import people


class Command(OrgAdminCommand):
    """Changes one person. Without --role and --no-role, the roles stay."""

    help = "Change a person's roles or break-glass permission, or disable or enable them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--username", required=True)
        parser.add_argument(
            "--role",
            action="append",
            dest="roles",
            choices=Role.values,
            help="A role; repeatable. All other roles are removed.",
        )
        parser.add_argument("--no-role", action="store_true", help="Remove all roles.")
        parser.add_argument("--administrator", action="store_true", help="Make an administrator.")
        break_glass = parser.add_mutually_exclusive_group()
        break_glass.add_argument("--break-glass", action="store_true", help="Allow break glass.")
        break_glass.add_argument("--no-break-glass", action="store_true", help="Revoke it.")
        active = parser.add_mutually_exclusive_group()
        active.add_argument("--disable", action="store_true", help="End sessions, block sign-in.")
        active.add_argument("--enable", action="store_true", help="Allow sign-in again.")

    def run(self, **options: Any) -> Result:
        person = self.find_person(options["username"])
        changes_roles = options["roles"] or options["no_role"] or options["administrator"]
        changes_break_glass = options["break_glass"] or options["no_break_glass"]
        if not (changes_roles or changes_break_glass or options["disable"] or options["enable"]):
            self.usage_error(
                "Nothing to change. Give --role, --no-role, --administrator, --break-glass, "
                "--no-break-glass, --disable or --enable."
            )
        if options["roles"] and options["no_role"]:
            self.usage_error("Give --role or --no-role, not both.")
        actor = command_actor()
        if changes_roles:
            person = people.set_roles(
                actor=actor,
                person=person,
                roles=[Role(name) for name in options["roles"] or []],
                is_administrator=options["administrator"],
            )
        if changes_break_glass:
            person = people.set_break_glass(
                actor=actor, person=person, is_allowed=options["break_glass"]
            )
        if options["disable"]:
            person = people.disable_person(actor=actor, person=person)
        if options["enable"]:
            person = people.enable_person(actor=actor, person=person)
        return _result(Person.objects.get(pk=person.pk))


def _result(person: Person) -> Result:
    roles = sorted(person.groups.values_list("name", flat=True))
    document = {
        "id": person.pk,
        "username": person.username,
        "roles": roles,
        "is_administrator": person.is_superuser,
        "is_active": person.is_active,
        "may_break_glass": person.has_break_glass,
    }
    role_names = "Administrator" if person.is_superuser else ", ".join(roles) or "no roles"
    state = "active" if person.is_active else "disabled"
    return Result(document, f"{person.username} ({state}): {role_names}.")
