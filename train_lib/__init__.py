"""Training: the loss, the update, the averages, and what guards them."""
