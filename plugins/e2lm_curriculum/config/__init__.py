"""What a user may write about a training, a curriculum and a comparison."""
