"""The crawl of Flickr: from seeds, over contacts and groups, to a source directory. `crawl.py` is read first."""
