"""Authorizations: what a workflow presents to the API that its ``api_call`` steps call, and how tokens stay fresh."""
