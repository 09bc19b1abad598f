"""Desired to actual: a pure plan, an executor, a loop."""
