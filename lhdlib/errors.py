"""Errors that a user can mend."""


class UserError(Exception):
    """Something outside the program is wrong; the message is one sentence: what, where, and how to mend it."""
