"""The one application of the project."""

from django.apps import AppConfig


class ConnectionsConfig(AppConfig):
    name = "connections"
    verbose_name = "Org Admin"

    def ready(self) -> None:
        from connections import checks  # noqa: F401 - registers the system checks
