"""What the campaigns on strangers' text and files share."""
