"""Everything a process needs around the computation: files, devices, peers."""
