"""The HTTP app: routes, the guard, responses, errors, streamed bodies."""
