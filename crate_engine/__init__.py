"""The engine of crate: images, containers and networks on top of any OCI runtime. `crate_engine.engine.Engine` is the way in."""

__version__ = "0.1.0"
