"""What Eventify is measured against: servers that do less, or do it in the usual way."""
