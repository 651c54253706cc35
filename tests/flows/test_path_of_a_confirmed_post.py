"""Limits how many files, stack frames and queries a confirmed POST takes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from connections.models import Outcome, State
from connections.operations import heartbeats
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import Requester, post_htmx

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(f"{ROOT / folder}/" for folder in ("connections", "orgadmin"))
# Declarations, values and hash functions aren't steps of the path.
DECLARATIONS = ("connections/models/", "connections/core/", "connections/verifier/")
DECLARING_FILES = {"orgadmin/settings.py"}
# Today's counts. Lower them with every change that shortens the path.
MOST_FILES = 53
MOST_FRAMES = 16
QUERIES = 50


class Trace:
    """The files whose functions were called, and the deepest call stack."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.deepest: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event != "call" or not name.startswith(OURS):
            return
        # Class bodies, comprehensions and modules aren't function calls.
        if frame.f_code.co_name.startswith("<"):
            return
        self.files.add(name.removeprefix(f"{ROOT}/"))
        stack = list(frames_of(frame))
        if len(stack) > len(self.deepest):
            self.deepest = stack

    def steps(self) -> list[str]:
        return sorted(name for name in self.files if not is_declaration(name))


def is_declaration(name: str) -> bool:
    return name.startswith(DECLARATIONS) or name in DECLARING_FILES or name.endswith("/forms.py")


def frames_of(frame: FrameType | None) -> Iterator[str]:
    """The steps on the stack. A function that calls itself, for nested values, is one step."""
    while frame is not None:
        name = frame.f_code.co_filename
        is_recursion = frame.f_back is not None and frame.f_back.f_code is frame.f_code
        is_class_body = frame.f_code.co_name.startswith("<")
        if name.startswith(OURS) and not is_class_body and not is_recursion:
            short = name.removeprefix(f"{ROOT}/")
            if not is_declaration(short):
                yield f"{short}:{frame.f_code.co_qualname}"
        frame = frame.f_back


@contextmanager
def traced() -> Iterator[Trace]:
    trace = Trace()
    sys.setprofile(trace)
    try:
        yield trace
    finally:
        sys.setprofile(None)


@pytest.mark.django_db(transaction=True)
def test_a_confirmed_post_passes_few_files_and_frames_and_makes_few_queries(
    requester: Requester, sandbox: SandboxServer, django_assert_num_queries: DjangoAssertNumQueries
):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = requester.delete()
    assert requester.deletion().state == State.REQUESTED
    form = page.form_to("/execute/")
    typed = form.fields | {"confirmation": form.attributes["data-confirm"]}
    # Where no worker runs, the page verifies the response itself.
    heartbeats.record_heartbeat(name="worker", host="here", process_id=1)

    with traced() as trace, django_assert_num_queries(QUERIES):
        post_htmx(requester.client, form.action, typed, target="outcome")

    assert requester.deletion().outcome == Outcome.DELETED
    steps = trace.steps()
    counts = f"{len(steps)} files, {len(trace.deepest)} frames"
    total = f"with declarations, values and hash functions {len(trace.files)} files"
    sys.stdout.write("\n  ".join([f"{counts}; {total}", *steps, *trace.deepest]))
    assert len(steps) <= MOST_FILES
    assert len(trace.deepest) <= MOST_FRAMES
