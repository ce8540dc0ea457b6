"""What a reader explores: widgets, the atlas, the page of one study."""
