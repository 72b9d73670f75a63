"""Feature extractors: networks that turn images into what the scores compare, one file each."""
