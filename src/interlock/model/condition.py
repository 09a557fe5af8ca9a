"""What a route's condition may be, said once for the file's schema and for the compiler."""

LONGEST_CONDITION = 2048  # characters
