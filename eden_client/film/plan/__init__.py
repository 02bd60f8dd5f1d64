"""Plans which frames a film needs and when, and finds cuts and duplicates, between which none are drawn."""
