"""Metrics, records, summaries and other helpers that know nothing of networks."""
