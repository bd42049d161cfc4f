"""The API documentation: a page, and Swagger UI 5.35.0 from npm's swagger-ui-dist, which it shows.

`LICENSE`, `NOTICE` and `swagger-ui-bundle.js.LICENSE.txt` are those of Swagger UI. Its two files
are as published, but for the reference to a source map. `web/docs.py` serves them.
"""
