"""Everything the engine keeps on disk."""
