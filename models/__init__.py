"""The classifier, its training, and the choice of the parameters to fine-tune."""
