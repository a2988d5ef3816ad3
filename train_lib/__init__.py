"""Training: the loss, the update, the averages, and the guard against bad updates."""
