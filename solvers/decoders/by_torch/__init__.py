"""The convolutional decoder, the live classifier and the reference: the one room of decoders that loads torch."""
