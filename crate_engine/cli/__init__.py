"""The command line of crate: the only part of the engine that prints. `commands` is the table that everything here is built from."""
