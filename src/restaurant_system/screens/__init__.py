"""The screens as files: pages, what they are made of (`assets`), and their words (`texts`).

`web/pages.py` serves them. There is no build step: what lies here is what a browser gets, but for
`{{ names }}` of texts in the pages, and the module `house.js`, which is written at the start.
"""
