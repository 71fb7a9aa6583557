"""One thin module per DVC stage: it loads parameters and files, calls the library, and saves the results.

Only these modules know the paths of the working copy and the MLflow run; the library gets them as arguments.
"""
