"""Services around the computation: files, devices, processes."""
