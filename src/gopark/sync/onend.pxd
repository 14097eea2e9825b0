# Compiled, so that no signal handler comes between two of its steps.
