"""Checks every request before a route sees it: head, API key, size, request limit. Gives it a place, or queues it."""
