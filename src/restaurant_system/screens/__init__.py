"""The screens as files: pages, their assets, their texts, and the API documentation.

`web/pages.py` serves them. There is no build step: the browser gets the files unchanged, except for
the texts that are filled in for `{{ name }}`, and the generated module `restaurant.js`.
"""
