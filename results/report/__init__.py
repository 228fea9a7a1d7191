"""The report of a run: one HTML file, made from its records; `python -m results.report --runs DIR`."""
