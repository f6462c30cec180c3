"""Who asks, what proves it, and what they may: tokens, OpenID, certificates, roles, and how fast."""
