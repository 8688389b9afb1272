"""Small shell commands beside train and infer."""
