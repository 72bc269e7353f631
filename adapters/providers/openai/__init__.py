"""OpenAI's images API, and servers that speak it: LocalAI, gateways, others."""
