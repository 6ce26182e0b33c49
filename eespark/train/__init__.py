"""The only place where TensorFlow is imported."""
