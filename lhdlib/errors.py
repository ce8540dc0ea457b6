"""Errors that a user can mend."""


class UserError(Exception):
    """Something outside the program is wrong; the message is one sentence: what, where, and how to mend it."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback (IPython asks for it)."""
        return [f"Error: {self}"]
