"""The record of acts: appending to it, reading, signing and verifying it, erasing people."""
