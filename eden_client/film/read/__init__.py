"""Reads films from files, pictures and pipes: pictures with exact times."""
