"""How the demo weights are made: a small EDEN, trained on scenes drawn as it goes (`python -m training --help`)."""
