"""Typed async functions over the queries of ``shared/sql``, the connection first."""
