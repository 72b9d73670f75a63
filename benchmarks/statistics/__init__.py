"""Statistics of scores: intervals over seeds, tests of differences, rankings and variance."""
