"""Columns whose values are codes with labels."""

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    CodeField = models.CharField
else:

    class CodeField(models.CharField):
        """A column of TextChoices, whose labels can change without a migration."""

        def deconstruct(self) -> tuple[str, str, list[object], dict[str, object]]:
            """Only the codes: migrations have the labels that Django makes from them."""
            name, _, args, kwargs = super().deconstruct()
            codes = [code for code, _ in self.flatchoices]
            kwargs["choices"] = [(code, code.replace("_", " ").title()) for code in codes]
            return name, "django.db.models.CharField", args, kwargs
