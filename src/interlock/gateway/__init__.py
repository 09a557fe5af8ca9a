"""The enforcement point: protocols, the pipeline of guards, upstreams."""
