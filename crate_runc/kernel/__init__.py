"""One thin module per kernel interface: numbers and structures in, OSError out; no word of the OCI specification is known here."""
