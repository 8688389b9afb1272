"""Prompts, inversion, attention control and editing with a latent diffusion model."""
