"""The OCI distribution specification, the client's side."""
