"""What is to be run: suites, specs of runs, and the registries that names are looked up in."""
