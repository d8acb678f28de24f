"""Teaching labs: a source each in `sources/`, from which `student/` and `teacher/` are made; see README.md."""
