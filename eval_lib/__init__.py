"""What is made with a trained score: samples and pictures (likelihood and metrics later)."""
