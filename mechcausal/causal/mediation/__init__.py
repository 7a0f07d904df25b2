"""What of an effect passes through which part and along which path of the network."""
