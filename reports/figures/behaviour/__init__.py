"""What routers decide."""
