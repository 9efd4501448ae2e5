"""Does the contrast make the model use time? Every way of training, several seeds, one unbiased test."""
