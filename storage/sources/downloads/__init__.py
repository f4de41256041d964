"""Downloads from other people's servers: to public addresses only, within a time limit, tried again politely."""
