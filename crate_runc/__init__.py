"""An OCI runtime: a bundle (config.json and a root filesystem) goes in, a container comes out. OCI runtime-spec 1.3, Linux."""

VERSION = "0.1.0"
SPEC_VERSION = "1.3.0"
