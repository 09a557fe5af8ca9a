"""The OAuth 2.1 and OpenID Connect authorization server, without I/O: requests in, responses out."""
