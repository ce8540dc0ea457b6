"""The encoder, its loss, and the training stages."""
