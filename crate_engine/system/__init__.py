"""The engine's own thin kernel wrappers. Light enough for the monitor: `os ctypes errno` and little else."""
