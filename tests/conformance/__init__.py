"""Tables of what the package offers: a row gets every generic test."""
