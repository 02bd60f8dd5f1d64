"""Interpolates a whole film: reads and plans it, has frames drawn, encodes them, joins the result with its sound."""
