"""LightningModules: what one step is."""
