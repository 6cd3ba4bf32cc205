"""One small class for each fault: how it strikes, how it is healed, and how often it struck."""
