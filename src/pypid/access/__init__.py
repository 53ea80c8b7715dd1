"""Who is this: one module for each source of people (`ports.Access`)."""
