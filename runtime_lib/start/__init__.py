"""Settings of the process that must be made before JAX starts."""
