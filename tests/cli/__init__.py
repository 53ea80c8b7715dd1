"""Commands, asked of a whole pypid in memory."""
