"""`eventify demo`: a real on-sale over HTTP, to watch and to show."""
