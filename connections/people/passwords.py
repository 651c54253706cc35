"""Passwords: the rules, which refuse words that an attacker would try first, and reset links."""

import re

from django.conf import settings
from django.contrib.auth.password_validation import (
    CommonPasswordValidator,
    MinimumLengthValidator,
    NumericPasswordValidator,
    UserAttributeSimilarityValidator,
)
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.exceptions import ValidationError

from connections.models import AuditEvent, EventCode, Person

# Attackers try these first, along with the name of the company.
_CONTEXT_WORDS = ("datadog", "orgadmin", "administrator", "admin", "connection", "org", "password")
_MIN_LENGTH = 12
_MIN_OTHER_CHARACTERS = 8
PASSWORD_RULES = (
    f"At least {_MIN_LENGTH} characters; not a common password, your name or words like “datadog”."
)
_MESSAGE = (
    f"Your password must contain at least {_MIN_OTHER_CHARACTERS} characters besides words like "
    f"“datadog”, “admin” and the name of this service."
)


class PasswordRules:
    """Django's validators and one of our own as one, so that one sentence describes them.

    Our own refuses a password that consists mostly of words about this service.
    """

    def __init__(self) -> None:
        self._validators = (
            MinimumLengthValidator(min_length=_MIN_LENGTH),
            UserAttributeSimilarityValidator(),
            NumericPasswordValidator(),
            CommonPasswordValidator(),
        )

    def validate(self, password: str, user: Person | None = None) -> None:
        """Raise ValidationError for the first rule that the password breaks."""
        for validator in self._validators:
            validator.validate(password, user)
        other_characters = re.sub(r"[\W_]", "", password.lower())
        for word in sorted((*_CONTEXT_WORDS, *_host_words()), key=len, reverse=True):
            other_characters = other_characters.replace(word, "")
        if len(other_characters) < _MIN_OTHER_CHARACTERS:
            raise ValidationError(_MESSAGE, code="context_words")

    def get_help_text(self) -> str:
        """The rules as forms show them."""
        return PASSWORD_RULES


class ResetTokenGenerator(PasswordResetTokenGenerator):
    """Tokens for links to reset a password, which end with whatever else ends a person's access.

    Django's tokens end with a new password, a sign-in, another email address, and after
    PASSWORD_RESET_TIMEOUT. These also end when the person is disabled or loses a role, when someone
    ends the person's sessions, and when a sign-in link is created for them.
    """

    def _make_hash_value(self, user: Person, timestamp: int) -> str:
        newest_link = user.sign_in_links.values_list("token_hash", flat=True).first()
        ended = AuditEvent.objects.filter(
            code=EventCode.SESSION_ENDED, subject_type="person", subject_id=str(user.pk)
        )
        value = super()._make_hash_value(user, timestamp)
        return f"{value}{user.get_session_auth_hash()}{newest_link}{ended.count()}"


def _host_words() -> set[str]:
    """The words in this service's host names, such as “example” in orgadmin.example.com."""
    names = (name.lower().strip(".*") for name in settings.ALLOWED_HOSTS)
    return {word for name in names for word in re.findall(r"[a-z]{4,}", name)}
