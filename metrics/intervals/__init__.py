"""Intervals of the metrics over generated images: another draw of as many would score in them."""
