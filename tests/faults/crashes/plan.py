"""What is to happen to the processes of one test; handed to them as a JSON file."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

VARIABLE = "FAULTS_PLAN"
# Not one of the product's failpoints: struck when Datadog has received the request.
WHILE_SENDING = "while_sending"


@dataclass(kw_only=True)
class Plan:
    """Deadlines in seconds, and at which point the sending of which connection is struck."""

    # A directory; a file in it named like a connection says that its strike has fallen.
    marks: str
    # Where a Datadog's control addresses are.
    datadog: str = ""
    strikes: dict[str, str] = field(default_factory=dict)
    # SIGKILL, or SIGSTOP for a process that freezes there.
    signal: str = "SIGKILL"
    # What a process sends itself while Django is loaded; "" for nothing.
    signal_at_start: str = ""
    delete_seconds: float = 1.0
    claim_seconds: float = 2.5
    first_look_seconds: float = 2.0
    second_look_seconds: float = 1.0
    lock_seconds: float = 20.0

    def write(self, path: Path) -> None:
        """Put it where `read_plan` of another process finds it."""
        path.write_text(json.dumps(asdict(self)))

    def has_struck(self, connection_id: str) -> bool:
        """Whether the strike for this connection has fallen."""
        return (Path(self.marks) / connection_id).exists()


def read_plan() -> Plan:
    """The plan that FAULTS_PLAN names."""
    return Plan(**json.loads(Path(os.environ[VARIABLE]).read_text()))
