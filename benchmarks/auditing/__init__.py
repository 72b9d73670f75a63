"""The audit: what every score makes of faults that are known, because they were put there."""
