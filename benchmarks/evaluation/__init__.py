"""From a trained model, or from the images of another program, to scores."""
