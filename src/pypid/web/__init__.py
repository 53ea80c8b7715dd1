"""The HTTP face: routes, the guard, answers, errors, bodies that stream."""
