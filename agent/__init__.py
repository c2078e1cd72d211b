"""The daemon: what is owed, kept durably and sent until it is acknowledged."""

# Stands here, not in the package's metadata: reading that costs 40 ms at each start. pyproject.toml takes it from here.
VERSION = "0.1.0"
