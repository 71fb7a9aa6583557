"""A registered model predicts on new images: at a terminal, as a service, over a bucket."""
