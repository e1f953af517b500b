"""checkpoint and restore: criu(8), driven over the interface that it has for runtimes."""
