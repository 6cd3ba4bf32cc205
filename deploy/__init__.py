"""Everything that runs Eventify: the operator's command, and the one-machine runner."""
