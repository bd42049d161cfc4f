"""The screens as files: pages, their assets, their texts, and the API documentation.

`web/pages.py` serves them. There is no build step. When a service starts, it fills in the texts for
`{{ name }}` and the files of `parts` for `{{> name }}`, generates the module `restaurant.js`, and
joins the modules and the styles of each page in one file each (`web/bundles.py`).
"""
