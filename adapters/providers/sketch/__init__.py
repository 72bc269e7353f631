"""sketch, the offline provider: it paints by rules with numpy and Pillow, and never says AI."""
