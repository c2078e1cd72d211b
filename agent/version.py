"""The release's number, for status and `reversalctl version`; a test compares it with pyproject.toml.

A constant, because importlib.metadata costs 30 ms and 2 MB to say the same.
"""

VERSION = "0.1.0"
