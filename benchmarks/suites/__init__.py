"""The suites that ship, one TOML file each."""
