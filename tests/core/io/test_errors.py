"""What an exception says, in one line."""

import pydantic
import pytest

from tasks.core.io.errors import LONGEST, reason_of


class Model(pydantic.BaseModel):
    length: int

    @pydantic.model_validator(mode="after")
    def positive(self):
        if self.length < 1:
            raise ValueError("length must be\nat least 1")
        return self


def invalid(length):
    try:
        Model(length=length)
    except pydantic.ValidationError as error:
        return error
    raise AssertionError


def raised(error, cause):
    try:
        raise error from cause
    except Exception as done:
        return done


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(ValueError("too long"), "too long", id="one line"),
        pytest.param(ValueError("\n two\n  lines \n"), "two lines", id="all lines"),
        pytest.param(RuntimeError(), "RuntimeError", id="no message"),
        pytest.param(invalid(0), "length must be at least 1", id="pydantic: the reason, not the count of errors"),
        pytest.param(
            invalid("x"),
            "length: Input should be a valid integer, unable to parse string as an integer",
            id="pydantic: the field",
        ),
        pytest.param(
            raised(RuntimeError("did not start"), OSError("disk full")), "did not start: disk full", id="cause"
        ),
        pytest.param(raised(RuntimeError("failed: x"), OSError("x")), "failed: x", id="a cause already told"),
    ],
)
def test_reason(error, expected):
    assert reason_of(error) == expected


def test_a_long_reason_keeps_beginning_and_end():
    reason = reason_of(ValueError("begin " + "x" * 5000 + " end"))
    assert reason.startswith("begin") and reason.endswith("end") and len(reason) < LONGEST + 10
