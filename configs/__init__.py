"""The shipped YAML files, as package data."""
