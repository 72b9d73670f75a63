"""Network bodies, and densities of codes, that the families share."""
