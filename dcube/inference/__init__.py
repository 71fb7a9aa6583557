"""Prediction on new images with a registered model: at a terminal, as a service, or over a bucket."""
