"""What is measured of a router by itself."""
