"""What crosses the wire, the same on every target: arguments in, results and errors out."""
