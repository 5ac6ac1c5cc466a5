"""From a text to batches of tokens: read it, store its tokens once, and draw windows in a fixed order."""
