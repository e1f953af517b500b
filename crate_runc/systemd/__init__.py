"""What the systemd cgroup driver needs of systemd: unit names and properties (pure), and a connection to its bus.

Loaded only where that driver is asked for (`--systemd-cgroup`, `--cgroup-manager systemd`) or a container has it.
"""
