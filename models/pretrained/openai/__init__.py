"""OpenAI's state dicts: Improved DDPM, guided diffusion (ADM) and its classifiers."""
