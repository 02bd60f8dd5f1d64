"""How good the frames between are, on scenes whose exact middle is known."""
