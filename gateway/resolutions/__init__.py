"""What becomes of a hold or a purchase: it is confirmed, released, extended or cancelled."""
