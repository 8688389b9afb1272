"""Metrics of ageing and identity; the networks they use are arguments."""
