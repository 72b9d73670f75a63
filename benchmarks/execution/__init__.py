"""From a suite to its records: plan runs, train and score each, resume, locally or on Ray."""
