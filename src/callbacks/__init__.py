"""Callbacks: what happens around steps."""
