"""What records say: data frames, findings, changes, several suites, audits."""
