"""Another index: one module for each way to ask it (`ports.Upstream`)."""
