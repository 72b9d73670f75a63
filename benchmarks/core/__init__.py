"""What every layer needs: errors, text, files, signals and seeds."""
