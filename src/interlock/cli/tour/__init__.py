"""`interlock tour`: shows, on a scratch directory and for real, what the gateway lets pass and what not."""
