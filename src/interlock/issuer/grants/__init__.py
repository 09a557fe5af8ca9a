"""How a token is come by: one module for each grant type."""
