"""LightningDataModules: where pictures come in."""
