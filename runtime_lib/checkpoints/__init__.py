"""Checkpoints that survive kills, full disks and flipped bits."""
