"""Which texts are accepted as a reason, a note or a comment."""

import pytest

from connections.core.errors import InvalidInputError
from connections.core.typed_text import MAX_REASON_LENGTH, NO_REASON, clean_text


@pytest.mark.parametrize("text", ["", "  \n", "\u200b\u2060", "\u3164\u2800\u115f", "a\0b"])
def test_a_reason_that_no_one_could_read_or_store_is_refused(text: str):
    with pytest.raises(InvalidInputError) as refused:
        clean_text(text)
    assert refused.value.fields == {"reason": NO_REASON}


def test_a_reason_that_is_too_long_is_refused_and_white_space_around_it_does_not_count():
    longest = "x" * MAX_REASON_LENGTH
    assert clean_text(f"  {longest}\n") == longest
    with pytest.raises(InvalidInputError) as refused:
        clean_text(longest + "x", field="note", noun="note")
    assert refused.value.fields == {"note": "A note can have at most 4,000 characters."}
