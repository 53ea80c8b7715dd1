"""What all routes share: the app, accounts, audit, rate limits, visibility and errors."""
