"""A crawl of Flickr: from seeds, over contacts and groups, to a source directory. Read `crawl.py` first."""
