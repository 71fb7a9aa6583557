"""Stage 1: the U-ViT diffusion model."""
