"""How long the model takes, where the time goes, and how near that is to what the machine allows."""
