"""From an image's config and a caller's options to an OCI bundle."""
