"""What makes weights, measured scores, surrogates and latency tables; each a command."""
