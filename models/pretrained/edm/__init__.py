"""EDM's snapshots."""
