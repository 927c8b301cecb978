"""What the control plane does by itself: planning, expiry, retries."""
