"""Check the installation, and say what to do about each problem."""

from dataclasses import asdict
from typing import Any

from connections.management.base import FAILED, OrgAdminCommand
from connections.operations.doctor import diagnose
from connections.operations.findings import Level

_MARKS = {Level.OK: "ok     ", Level.WARNING: "warning", Level.ERROR: "ERROR  "}


class Command(OrgAdminCommand):
    """Changes nothing. Exit code 1 when there is an error, else 0, also with warnings."""

    help = "Check settings, keys, database, migrations, mail, policies and worker."

    def run(self, **options: Any) -> None:
        findings = diagnose()
        lines = []
        for finding in findings:
            lines.append(f"{_MARKS[finding.level]}  {finding.check}: {finding.message}")
            if finding.hint:
                lines.append(f"         {finding.hint}")
        is_ok = all(finding.level != Level.ERROR for finding in findings)
        document = {"ok": is_ok, "findings": [asdict(finding) for finding in findings]}
        self.emit(document, "\n".join(lines))
        if not is_ok:
            raise SystemExit(FAILED)
