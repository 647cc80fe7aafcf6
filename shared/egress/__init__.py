"""The guard and the one client for everything that leaves."""
