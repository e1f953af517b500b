"""Layers: tar streams turned into directories that overlayfs can stack."""
