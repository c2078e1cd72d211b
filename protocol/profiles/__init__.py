"""Host dialects as data, one TOML file each."""
