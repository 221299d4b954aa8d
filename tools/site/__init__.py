"The series as a web site and an EPUB, from the notebooks as they are: `python -m tools.site`"
