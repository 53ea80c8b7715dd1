"""What we know: one module for each technology (`ports.Catalog`)."""
