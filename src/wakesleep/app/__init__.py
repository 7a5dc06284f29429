"""The web page: a folder in which the network runs in the browser, and a small server that adds a
JSON API. No learning here.
"""
