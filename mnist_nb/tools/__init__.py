"""The machinery: what runs, verifies and publishes the notebooks."""
