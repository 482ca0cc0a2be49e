"""The commands of `pathlight`: what they take and print. What they do is in the modules beside this folder."""
