"""stub: signatures fixed, body follows."""
