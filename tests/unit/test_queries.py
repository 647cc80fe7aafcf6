"""The loader of named queries."""

import pytest

from shared.queries import load, parse, tables


def test_a_file_is_split_at_its_names():
    """Each query is the text up to the next name, with its comment, without its semicolon."""
    text = "-- A file.\n\n-- name: one\n-- First.\nSELECT 1;\n\n-- name: two_b\n-- Second.\nSELECT '-- name: no';\n"
    assert parse(text) == {"one": "-- First.\nSELECT 1", "two_b": "-- Second.\nSELECT '-- name: no'"}
    assert parse("") == {}


def test_a_name_that_stands_twice_is_refused():
    """The error names it."""
    with pytest.raises(ValueError, match="one"):
        parse("-- name: one\nSELECT 1;\n-- name: two\nSELECT 2;\n-- name: one\nSELECT 3;\n")


def test_files_are_found_by_their_table():
    """Every file of shared/sql is listed, read once, and unknown ones are an error."""
    assert "advance" in tables()
    assert load("advance") is load("advance")
    with pytest.raises(FileNotFoundError):
        load("no_such_table")
