"""What goes on in a sale, for its owner: figures once a second, and its past."""
