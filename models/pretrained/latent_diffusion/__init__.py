"""Single files of latent diffusion and Stable Diffusion, as their authors write them."""
