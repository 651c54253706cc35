"""What happens to the processes of one test, passed to them as a JSON file."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

VARIABLE = "FAULTS_PLAN"
# Not one of the product's failpoints: the signal is sent once Datadog has received the request.
WHILE_SENDING = "while_sending"


@dataclass(kw_only=True)
class Plan:
    """Deadlines in seconds, and where a process gets a signal."""

    # A directory with one file per connection whose signal was sent, named by connection ID.
    marks: str
    # The base URL of the simulator's control API.
    datadog: str = ""
    # Connection ID → failpoint at which the signal is sent.
    signal_points: dict[str, str] = field(default_factory=dict)
    # The code of the event at whose recording it is sent; "" for none. Once its transaction has
    # committed, or before.
    signal_event: str = ""
    signal_after_commit: bool = False
    # The signal: SIGKILL, SIGINT, or SIGSTOP to freeze the process.
    signal: str = "SIGKILL"
    # The signal a process sends itself while Django loads; "" for none.
    signal_at_start: str = ""
    delete_seconds: float = 1.0
    claim_seconds: float = 2.5
    first_check_seconds: float = 2.0
    second_check_seconds: float = 1.0
    lock_seconds: float = 20.0
    # How old a list can be at a claim, and how long after it the first byte can be written, until
    # the process was stopped for this request.
    list_seconds: float = 60.0
    first_byte_seconds: float = 60.0

    def write(self, path: Path) -> None:
        """Write it to the file that `read_plan` reads in another process."""
        # At once: a process that was just started could be reading it.
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(asdict(self)))
        unfinished.rename(path)

    def was_signaled(self, connection_id: str) -> bool:
        """Whether the signal for this connection was sent."""
        return (Path(self.marks) / connection_id).exists()


def read_plan() -> Plan:
    """Read the plan from the file that FAULTS_PLAN names."""
    return Plan(**json.loads(Path(os.environ[VARIABLE]).read_text()))
