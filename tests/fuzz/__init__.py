"""Hostile templates and conditions, made by a grammar, run in a child process that is watched; ``make fuzz``."""
