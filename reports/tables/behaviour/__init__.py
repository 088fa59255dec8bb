"""What routers decide: load, balance, decisions."""
