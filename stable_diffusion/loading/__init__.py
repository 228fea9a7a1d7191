"""What a generator is: where it lies, whether it is supported, what it draws with by default, and its loaded pipeline."""
