"""The parts of reading an answer out of a model's text. `core.extraction` and `core.grading` put them together.

Text flows in, frozen values with character offsets flow out. Nothing here guesses, raises on any str, or takes
more than linear time.
"""
