"""Sources of pictures with exact times."""
