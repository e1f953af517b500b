"""Networks of containers: host, none, and private through pasta."""
