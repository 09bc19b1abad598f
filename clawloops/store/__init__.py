"""Accounts, wishes and sealed secrets in SQLite or PostgreSQL: the only floor that holds SQL."""
