"""Request traces as a client keeps them, and as people look at them."""
