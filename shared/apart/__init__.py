"""Calls of nodes in processes of their own: what they do to their process, they do to no other."""
