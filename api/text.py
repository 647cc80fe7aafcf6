"""Texts of callers, and what of them Postgres can hold."""


def storable(text: str) -> bool:
    """Whether a text can be a column: no NUL, and no lone surrogate, which UTF-8 lacks."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
