"""The embedded world: emoji, their captions and scenes."""
