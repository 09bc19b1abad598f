"""A real identity provider for the tests."""
