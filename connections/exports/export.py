"""Exports that the audit log records, in chunks and with constant memory."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from connections.access.actor import Actor
from connections.audit import checkpoints, events
from connections.audit.personal_data import Sentence
from connections.core import tabular
from connections.core.tabular import Columns
from connections.core.text import pluralize
from connections.models import Checkpoint, EventCode

# Rows are far smaller, so several are sent together.
CHUNK_BYTES = 32 * 1024
# A pause before each chunk lets the threads of other requests run. Without it, Python lets an
# export that only computes run for 5 ms at a time (sys.getswitchinterval).
PAUSE_SECONDS = 0.0001
RECEIVER_GONE = "receiver_gone"


@dataclass(frozen=True, kw_only=True)
class Export[T]:
    """An export to be made. Its items are read only after the start is recorded."""

    actor: Actor
    # What is exported, as the event's details and sentence name it.
    what: str
    description: str
    file_format: str
    # The filter as its query string.
    query: str
    items: Callable[[], Iterable[T]]
    columns: Columns[T]
    # The newest checkpoint, so that a copy of the export also proves the state of the audit log.
    checkpoint: Checkpoint | None = field(default_factory=checkpoints.latest_checkpoint)


def start_export(*, export: Export[Any]) -> "RunningExport":
    """Record the start of an export. The caller must close the result after reading it."""
    started = _record(
        export,
        code=EventCode.EXPORT_STARTED,
        sentence=Sentence(
            "{actor} started an export of {what} as {format}.",
            what=export.description,
            format=export.file_format,
        ),
        details={
            "filter": export.query,
            "checkpoint_size": export.checkpoint.size if export.checkpoint else None,
            "checkpoint_root": export.checkpoint.root if export.checkpoint else None,
        },
    )
    return RunningExport(export, started=started)


class RunningExport(Iterator[bytes]):
    """The bytes of an export that has started, in chunks and with constant memory."""

    def __init__(self, export: Export[Any], *, started: int) -> None:
        self._export, self._started = export, started
        self._rows, self._bytes, self._digest = 0, 0, hashlib.sha256()
        self._cause = RECEIVER_GONE
        self._is_over = False
        self._chunks = self._chunked()

    def __next__(self) -> bytes:
        time.sleep(PAUSE_SECONDS)
        try:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._finish()
        except BaseException as error:
            # `close` records it: only then is it certain that nothing follows.
            self._cause = type(error).__name__
            raise
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Record that the export was aborted, unless its end has already been recorded."""
        if not self._is_over:
            self._is_over = True
            sentence = Sentence(
                "The export of {what} as {format} stopped early, after {rows}.",
                what=self._export.description,
                format=self._export.file_format,
                rows=pluralize(self._rows, "row"),
            )
            self._record_end(code=EventCode.EXPORT_ABORTED, sentence=sentence, cause=self._cause)

    def _chunked(self) -> Iterator[bytes]:
        buffer = bytearray()
        texts = tabular.write(
            items=self._counted(),
            columns=self._export.columns,
            file_format=self._export.file_format,
        )
        for text in texts:
            buffer += text.encode()
            if len(buffer) >= CHUNK_BYTES:
                yield self._hashed(buffer)
                buffer.clear()
        if buffer:
            yield self._hashed(buffer)

    def _counted(self) -> Iterator[Any]:
        for item in self._export.items():
            self._rows += 1
            yield item

    def _hashed(self, buffer: bytearray) -> bytes:
        self._digest.update(buffer)
        self._bytes += len(buffer)
        return bytes(buffer)

    def _finish(self) -> None:
        if self._is_over:
            return
        sha256 = self._digest.hexdigest()
        sentence = Sentence(
            "The export of {what} as {format} finished: {rows}, SHA-256 {sha256}.",
            what=self._export.description,
            format=self._export.file_format,
            rows=pluralize(self._rows, "row"),
            sha256=sha256,
        )
        self._record_end(code=EventCode.EXPORT_FINISHED, sentence=sentence, sha256=sha256)
        self._is_over = True

    def _record_end(self, *, code: EventCode, sentence: Sentence, **details: Any) -> None:
        counts = {"started": self._started, "rows": self._rows, "bytes": self._bytes}
        _record(self._export, code=code, sentence=sentence, details=counts | details)


def _record(
    export: Export[Any], *, code: EventCode, sentence: Sentence, details: dict[str, Any]
) -> int:
    with events.atomic() as appended:
        events.record(
            code=code,
            actor=export.actor,
            sentence=sentence,
            details={"what": export.what, "format": export.file_format, **details},
        )
    return appended[0].seq
