"""The daemon: what is owed, kept durably and sent until it is acknowledged."""
