"""A tap that looks on at every replica: what replicas tell each other by way of the store, and seal."""
