"""Search spaces that are installed with mpnas: rules in TOML, named by an experiment's `space`."""
