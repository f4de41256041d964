"""The demo community: users of several tastes, drawn pictures, growth night by night."""
