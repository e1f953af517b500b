"""The documents of the OCI image specification as plain values: nothing here opens a file or calls the kernel."""
