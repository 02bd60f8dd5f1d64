"""What a clip's way to a server and back costs."""
