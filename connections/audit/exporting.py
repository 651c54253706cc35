"""An export from its first byte to its last: recorded when it begins, and again when it ends.

`export.started` stands before the first byte. `export.finished`, with the number of rows and the
SHA-256 of the bytes, stands before the end is told to whoever reads; else `export.aborted` says
how far it came. An export that was started and has neither was cut off with its process.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from connections.access.actor import Actor
from connections.audit import checkpoints, events, personal_data
from connections.core import tabular
from connections.core.tabular import Row
from connections.models import Checkpoint
from connections.wording import pluralize

# A row is far smaller than what is worth handing on by itself.
PIECE_BYTES = 32 * 1024
RECEIVER_GONE = "receiver_gone"


@dataclass(frozen=True, kw_only=True)
class Export:
    """What somebody may take away: the rows are read once it has begun, and not before."""

    actor: Actor
    # As the record's details name it, and as its sentence does.
    what: str
    words: str
    file_format: str
    # The filter in the asker's own words.
    asked_for: str
    rows: Callable[[], Iterable[Row]]
    columns: tuple[str, ...]
    # The newest one there was: it goes out with the rows, and whoever keeps it is a witness.
    checkpoint: Checkpoint | None = field(default_factory=checkpoints.latest)


def begin_export(*, export: Export) -> "RunningExport":
    """Record that it begins. Whoever reads the pieces must close it afterwards."""
    name = personal_data.name_of(export.actor)
    started = _record(
        export,
        code=events.EventCode.EXPORT_STARTED,
        sentence=f"{name} began to export {export.words} as {export.file_format}.",
        details={
            "filter": export.asked_for,
            "checkpoint_size": export.checkpoint.size if export.checkpoint else None,
            "checkpoint_root": export.checkpoint.root if export.checkpoint else None,
        },
    )
    return RunningExport(export, started=started)


class RunningExport(Iterator[bytes]):
    """The bytes of an export that has begun, in pieces, at flat memory."""

    def __init__(self, export: Export, *, started: int) -> None:
        self._export, self._started = export, started
        self._rows, self._bytes, self._digest = 0, 0, hashlib.sha256()
        self._cause = RECEIVER_GONE
        self._is_over = False
        self._pieces = self._in_pieces()

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces, None)
            if piece is None:
                self._finish()
        except BaseException as error:
            # Recorded when it is closed: only then is it certain that nothing follows.
            self._cause = type(error).__name__
            raise
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Record that it was left off, unless its end was recorded."""
        if not self._is_over:
            self._is_over = True
            words = f"{pluralize(self._rows, 'row')} written"
            self._record_end(
                code=events.EventCode.EXPORT_ABORTED, ended=f"broke off: {words}", cause=self._cause
            )

    def _in_pieces(self) -> Iterator[bytes]:
        held = bytearray()
        texts = tabular.write(
            rows=self._counted(), columns=self._export.columns, file_format=self._export.file_format
        )
        for text in texts:
            held += text.encode()
            if len(held) >= PIECE_BYTES:
                yield self._hashed(held)
                held.clear()
        if held:
            yield self._hashed(held)

    def _counted(self) -> Iterator[Row]:
        for row in self._export.rows():
            self._rows += 1
            yield row

    def _hashed(self, held: bytearray) -> bytes:
        self._digest.update(held)
        self._bytes += len(held)
        return bytes(held)

    def _finish(self) -> None:
        if self._is_over:
            return
        sha256 = self._digest.hexdigest()
        self._record_end(
            code=events.EventCode.EXPORT_FINISHED,
            ended=f"is whole: {pluralize(self._rows, 'row')}, SHA-256 {sha256}",
            sha256=sha256,
        )
        self._is_over = True

    def _record_end(self, *, code: events.EventCode, ended: str, **details: Any) -> None:
        export = self._export
        sentence = f"The export of {export.words} as {export.file_format} {ended}."
        counts = {"started": self._started, "rows": self._rows, "bytes": self._bytes}
        _record(export, code=code, sentence=sentence, details=counts | details)


def _record(
    export: Export, *, code: events.EventCode, sentence: str, details: dict[str, Any]
) -> int:
    with events.atomic() as appended:
        events.record(
            code=code,
            actor=export.actor,
            sentence=sentence,
            details={"what": export.what, "format": export.file_format, **details},
        )
    return appended[0].seq
