"""Images as files: OCI image layouts and docker archives, in directories and in tar archives, read and written."""
