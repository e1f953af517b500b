"""mounts[] of config.json: its words, mappings, sources and destinations. The steps that mount are in steps/."""
