"""Networks and algorithms that turn a photograph into an aligned face."""
