"""One process per container: it makes what the container stands on, calls the low-level runtime, and lives as long as the container."""
