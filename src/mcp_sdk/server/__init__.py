"""The control-plane server: stateless replicas over one store, spoken to by HTTP and by streams. Extra ``server``."""
