"""Threads that send requests to Datadog for one caller."""

from concurrent.futures import ThreadPoolExecutor


class RequestThreads(ThreadPoolExecutor):
    """An executor whose block waits for its threads, unless Ctrl-C or SIGTERM ends a command."""

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Leave the block. After KeyboardInterrupt, begin no more and wait for nothing."""
        is_interrupted = kind is KeyboardInterrupt
        self.shutdown(wait=not is_interrupted, cancel_futures=is_interrupted)
