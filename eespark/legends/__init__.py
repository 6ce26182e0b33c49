"""Legend and code-list files (YAML)."""
