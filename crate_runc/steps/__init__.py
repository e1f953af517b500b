"""One file per section of config.json: a pure plan() and the Steps it returns."""
