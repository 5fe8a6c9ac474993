"""What the notebooks import: small enough to be read before it is used."""
