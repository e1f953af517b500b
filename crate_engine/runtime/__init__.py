"""The only door to a low-level runtime: any program that takes runc's command line."""
