"""The root of every error whose message is meant for the person at the terminal, and what other errors say."""

from __future__ import annotations

LONGEST = 600
"""Characters of a reason; a longer one keeps its beginning and its end."""


class StageError(Exception):
    """Something outside the code is wrong (a file, a record, a parameter); the message alone says what and where."""


def reason_of(error: BaseException) -> str:
    """What an exception says, in one line: every line of its message, and of the errors that it was raised from.

    pydantic's message begins with "1 validation error for ModelConfig" and ends with an address and the whole input; of
    it only the fields and what is wrong with them are kept.
    """
    reasons: list[str] = []
    link: BaseException | None = error
    while link is not None:
        text = _message(link)
        if not any(text in reason for reason in reasons):
            reasons.append(text)
        link = link.__cause__
    line = ": ".join(reasons)
    if len(line) <= LONGEST:
        return line
    return f"{line[: LONGEST // 2]} .. {line[-LONGEST // 2 :]}"


def _message(error: BaseException) -> str:
    details = getattr(error, "errors", None)
    if type(error).__module__.startswith("pydantic") and callable(details):
        parts = []
        for detail in details(include_url=False, include_input=False):
            field = ".".join(map(str, detail["loc"]))
            parts.append(f"{field}: {detail['msg']}" if field else detail["msg"])
        text = "; ".join(part.removeprefix("Value error, ") for part in parts)
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__
