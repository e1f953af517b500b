"""What config.json may say, as tables of checks: one module per section of runtime-spec 1.3."""
