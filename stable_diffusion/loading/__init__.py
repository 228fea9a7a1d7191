"""Find a generator, check that it is supported, look up what it draws with by default, and load its pipeline."""
