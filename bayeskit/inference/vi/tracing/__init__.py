"""What a traced objective says of itself: which elements depend on which choices, its terms, its jumps."""
