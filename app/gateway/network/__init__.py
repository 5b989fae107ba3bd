"""Associations and web requests to other systems: echo, query, retrieve."""
