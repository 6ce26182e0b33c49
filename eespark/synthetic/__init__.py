"""A small archive whose truth is known, in true file formats; used by jobs and tests only."""
