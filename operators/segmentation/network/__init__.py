"""From an image to a label map: prepare, slide the window, finish; ``predict`` puts them in a row."""
