"""The root of every error whose message is meant for the person at the terminal."""


class StageError(Exception):
    """Something outside the code is wrong (a file, a record, a parameter); the message alone says what and where."""
