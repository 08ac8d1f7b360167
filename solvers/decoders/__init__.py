"""Decoders: from the activations of a layer back to the input of the network."""
