"""Check the installation, and say what to do about each problem."""

from typing import Any

from django.core.checks import ERROR, INFO, WARNING

from connections.management.base import FAILED, OrgAdminCommand, Result
from connections.operations.checks import run_all_checks

_LEVELS = {INFO: "ok", WARNING: "warning", ERROR: "error"}


class Command(OrgAdminCommand):
    """Changes nothing. Exit code 1 if there is an error, otherwise 0, even with warnings."""

    help = (
        "Check settings, keys, database, email, approval policies and worker. Exit codes: 0 no "
        "errors, 1 at least one."
    )

    def run(self, **options: Any) -> Result:
        messages = run_all_checks()
        findings = [
            {
                "check": message.obj,
                "level": _LEVELS[message.level],
                "message": message.msg,
                "hint": message.hint or "",
            }
            for message in messages
        ]
        lines = []
        for finding in findings:
            lines.append("{level:7}  {check}: {message}".format_map(finding))
            if finding["hint"]:
                lines.append(f"         {finding['hint']}")
        is_ok = all(message.level < ERROR for message in messages)
        document = {"ok": is_ok, "findings": findings}
        return Result(document, *lines, exit_code=0 if is_ok else FAILED)
