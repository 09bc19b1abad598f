"""The services behind the dashboard: what people may do, and its record."""
